"""The describer of photographs: captions word by word, phrases linked by names, masks from frozen features in a box.

SGDiff's task with what a small data set of photographs can teach. Where it differs from SGDiff:
- the picture is read by frozen encoders: an image-level captioner's dual encoder with its nearest captions, and the
  feature maps of EfficientNet-Lite0; only heads are trained;
- captions are continued word by word from a prefix of the picture and its graph, by a decoder that begins as the
  captioner's, so that it has learned from more text than there is with pictures;
- the graph is the prompt's node, what it is related to and how, and the picture's other nodes; none is filtered out;
- a noun of the caption is linked to the nodes that it names by their names, not by a learned similarity;
- a mask is computed inside a node's box, from its features there, and depends on no caption.
"""
