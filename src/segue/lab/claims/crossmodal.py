"""What the paper on cross-modal synthesis claims, and the rows that test it."""

from functools import partial

from segue.lab.claims.model import NO_ROW, Claim, Comparison, Paper

main = partial(Comparison, "crossmodal_scenes", "main")
real = partial(Comparison, "crossmodal_real", "main")
CONDITION = (
    "The paper does not say whether the picture is given; its mIoU can't be a caption's alone, which fixes no position"
)

PAPER = Paper(
    title="Cross-modal synthesis: layouts of captions and captions of layouts",
    data="COCO-Stuff (164,000 pictures) and ADE20K, 512 pixels, depth 12, 100 epochs on 8 A100",
    here={
        "crossmodal_scenes": "synthetic scenes, width 96, depth 3 (which stands for the paper's 12), 600 steps; 300 "
        "pictures of test",
        "crossmodal_real": "160 photographs of COCO to train, 250 steps",
    },
    claims=[
        Claim(
            "Table 1",
            "Captions to masks: ahead of OFA and BLIP-2",
            "COCO-Stuff mIoU/accuracy/VFS 70.9/91.4/.81 : 58.7/85.3/.72, 61.2/87.1/.74",
            why="Needs COCO-Stuff and these systems. The VFS is never defined",
        ),
        Claim(
            "Section IV",
            "Ahead of diffusion models such as StableDiffusion",
            "named as a benchmark, without figures",
            why="Needs its weights, and the paper does not say how it drew layouts",
        ),
        Claim("Table 1", "As good on ADE20K", "68.4/90.6/.80", why="Needs ADE20K with captions"),
        Claim(
            "Table 1",
            "Our reading, caption alone: ahead of the layout of the nearest training caption",
            "—",
            (
                main("miou", "full@caption", "nearest_caption@caption"),
                main("class_f1", "full@caption", "nearest_caption@caption"),
            ),
            CONDITION,
        ),
        Claim(
            "Table 1",
            "Our reading, caption and picture: ahead of the same encoder trained on pictures alone",
            "—",
            (
                main("miou", "full@caption+image", "segmenter@image"),
                main("accuracy", "full@caption+image", "segmenter@image"),
            ),
            CONDITION,
        ),
        Claim(
            "Table 1",
            "The same on photographs: caption alone, ahead of the nearest caption's layout",
            "—",
            (real("miou", "full@caption", "nearest_caption@caption"),),
        ),
        Claim(
            "Fig. 1",
            "Our reading: the classes that the caption names are there, with true edges: ahead of the nearest "
            "caption's layout",
            "a picture",
            (
                main("named_recall", "full@caption", "nearest_caption@caption"),
                main("boundary", "full@caption", "nearest_caption@caption"),
            ),
        ),
        Claim(
            "Table 2",
            "Masks to captions: ahead of OFA and BLIP-2",
            "COCO-Stuff B@4/CIDEr/METEOR 35.9/126.3/25.2 : 27.6/110.5/21.8, 31.4/118.9/23.6; ADE20K 33.1/122.4/24.1",
            why="Needs COCO-Stuff and these systems",
        ),
        Claim(
            "Table 2",
            "Our reading: ahead of the caption of the nearest training layout",
            "—",
            tuple(main(metric, "full@mask", "nearest_caption@mask") for metric in ("bleu4", "cider", "meteor")),
        ),
        Claim(
            "Table 2",
            "The same on photographs",
            "—",
            (real("cider", "full@mask", "nearest_caption@mask"),),
        ),
        Claim(
            "Discussion",
            "Without L_align masks are worse",
            "mIoU -8 %",
            (
                main("miou", "full@caption+image", "no_align@caption+image"),
                main("miou", "full@caption", "no_align@caption"),
            ),
        ),
        Claim(
            "Discussion",
            "Without L_align captions are worse",
            "BLEU -5.2",
            (main("bleu4", "full@mask", "no_align@mask"),),
        ),
        Claim(
            "Discussion",
            "Sharing the cross-modal attention helps both ways",
            "—",
            (
                main("miou", "full@caption+image", "separate_attention@caption+image"),
                main("bleu4", "full@mask", "separate_attention@mask"),
            ),
        ),
        Claim(
            "Discussion",
            "Depth helps up to 12 layers: ahead of 8 and of 4",
            "—",
            (
                main("miou", "full@caption+image", "depth8@caption+image"),
                main("miou", "full@caption+image", "depth4@caption+image"),
            ),
        ),
        Claim(
            "Discussion",
            "Beyond 12 layers little is gained",
            "—",
            why=f"{NO_ROW}no row is deeper than what stands for 12",
        ),
        Claim(
            "Discussion",
            "Nouns attend to the regions of their objects",
            "pictures",
            why=f"{NO_ROW}no row counts attention; `segue draw --export heat` shows it",
        ),
        Claim(
            "Discussion",
            "Captions are grammatical, even of regions that overlap",
            "—",
            why=f"{NO_ROW}no row judges grammar, or such layouts alone",
        ),
        Claim(
            "Section III-B",
            "Paraphrased captions in training make it robust to wording",
            "—",
            why=f"{NO_ROW}no row trains without them: each learns from all five captions of a picture",
        ),
        Claim(
            "Abstract",
            "16 % more mIoU and 14 % more BLEU than baselines",
            "mIoU 70.9 : 61.2, BLEU-4 35.9 : 31.4 (BLIP-2)",
            why="Needs COCO-Stuff and BLIP-2",
        ),
    ],
)
