"""CoCu (Concept Curation) on GroupViT: the network, segmentation by names, and the curation of concepts."""
