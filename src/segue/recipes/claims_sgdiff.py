"""What the paper of SGDiff claims, and the rows that test it."""

from collections.abc import Sequence
from functools import partial

from segue.recipes.claims import Claim, Comparison, Paper

main = partial(Comparison, "sgdiff_scenes", "main")
ALL = ("cider", "mask_iou", "map")


def _ahead(where: str, says: str, figures: str, ahead: str, behind: str, metrics: Sequence[str] = ALL) -> Claim:
    return Claim(where, says, figures, tuple(main(metric, ahead, behind) for metric in metrics))


def _best(where: str, says: str, figures: str, experiment: str, value: str) -> Claim:
    others = [one for one in ("0", "1", "2", "5", "10") if one != value]
    return Claim(
        where, says, figures, tuple(Comparison("sgdiff_scenes", experiment, "cider", value, o) for o in others)
    )


PAPER = Paper(
    title="SGDiff: one box, several stories with masks",
    data="MSCOCO panoptic and Flickr30k Entities, 1,024 pixels, two times 60 epochs. Figures are SPICE/CIDEr/mIoU/mAP",
    here={
        "sgdiff_scenes": "drawn scenes with their own regions as the graph, 800 steps of captions and 800 of both; 150 "
        "pictures of test. CIDEr of the first story, IoU of matched masks, mAP of masks with the class of their noun",
    },
    claims=[
        Claim(
            "Table 1",
            "Ahead of GLaMM, SCA, CAT and X-Decoder, which tell and outline",
            "26.1/137.4/66.3/47.2 : 23.3/130.9/36.2/14.8 (GLaMM), -/122.3/62.4/41.3 (X-Decoder)",
            why="Needs COCO panoptic and the weights of these systems",
        ),
        Claim(
            "Table 1",
            "Ahead of systems that only tell",
            "CIDEr 137.4 : 132.8 (X-Transformer), 131.6 (SCD-Net), 127.2 (SATIC)",
            why="Needs COCO and these systems; `caption_only` under Table 6 is the nearest",
        ),
        Claim(
            "Table 1",
            "Ahead of systems that only outline, in mIoU",
            "mIoU 66.3 : 65.2 (ODISE), 64.0 (OpenSeeD), 38.1 (OpenSeg); mAP 47.2 : 47.6 (OpenSeeD)",
            why="Needs COCO panoptic and these systems; `mask_only` under Table 6 is the nearest",
        ),
        Claim(
            "Table 2",
            "Ahead on Flickr30k Entities",
            "B@4/M/S/C 38.2/27.4/24.5/98.6 : 36.7/26.5/20.4/91.3 (GROUNDHOG)",
            why="Needs Flickr30k Entities and these systems",
        ),
        _ahead(
            "Introduction",
            "Telling and outlining at once is ahead of the caption first, then masks",
            "—",
            "full",
            "sequential",
        ),
        _ahead(
            "Method",
            "Our reading: writing by diffusion is ahead of word by word",
            "—",
            "full",
            "autoregressive",
            ("cider",),
        ),
        _ahead(
            "Abstract",
            "Stories of one box differ: more distinct word pairs than word by word",
            "pictures",
            "full",
            "autoregressive",
            ("distinct2",),
        ),
        _ahead(
            "Table 3",
            "Filtering alone gains over neither",
            "24.9/133.7/64.2/45.4 : 24.2/127.4/62.3/43.2",
            "filter",
            "no_psga",
        ),
        _ahead(
            "Table 3",
            "Ranking alone gains over neither",
            "25.4/135.8/65.5/46.3 : 24.2/127.4/62.3/43.2",
            "rank",
            "no_psga",
        ),
        _ahead("Table 3", "Both gain over neither", "26.1/137.4/66.3/47.2 : 24.2/127.4/62.3/43.2", "full", "no_psga"),
        _ahead(
            "Table 3", "Both gain over filtering alone", "26.1/137.4/66.3/47.2 : 24.9/133.7/64.2/45.4", "full", "filter"
        ),
        _ahead(
            "Table 3", "Both gain over ranking alone", "26.1/137.4/66.3/47.2 : 25.4/135.8/65.5/46.3", "full", "rank"
        ),
        _best(
            "Table 4",
            "lambda_1 = 2 is best (0, 1, 5, 10 are behind)",
            "CIDEr 137.4 : 127.4, 135.7, 137.6, 136.5 (at 5 ahead)",
            "lambda_adaptor",
            "2",
        ),
        _ahead(
            "Table 5",
            "Cross-attention between caption and graph gains",
            "26.1/137.4/66.3/47.2 : 24.5/133.7/64.5/46.0",
            "full",
            "no_cross_attention",
        ),
        _ahead(
            "Table 6",
            "Learning masks too makes captions better",
            "CIDEr 137.4 : 135.8",
            "full",
            "caption_only",
            ("cider",),
        ),
        _ahead(
            "Table 6",
            "Learning captions too makes masks better",
            "mIoU 66.3 : 63.7",
            "full",
            "mask_only",
            ("mask_iou",),
        ),
        _ahead(
            "Table 7",
            "The contrast within a picture gains",
            "25.4/136.4/65.6/46.2 : 24.8/134.8/64.2/42.7",
            "mecl_intra",
            "mecl_none",
        ),
        _ahead(
            "Table 7",
            "The contrast between pictures gains",
            "25.6/136.7/65.3/46.0 : 24.8/134.8/64.2/42.7",
            "mecl_inter",
            "mecl_none",
        ),
        _ahead(
            "Table 7",
            "Both contrasts gain over none",
            "26.1/137.4/66.3/47.2 : 24.8/134.8/64.2/42.7",
            "full",
            "mecl_none",
        ),
        _ahead(
            "Table 7",
            "The contrasts tie words and masks better",
            "mAP 47.2 : 42.7",
            "full",
            "mecl_none",
            ("map", "link_accuracy"),
        ),
        _best(
            "Table 8",
            "lambda_2 = 1 is best (0, 2, 5, 10 are behind)",
            "CIDEr 137.4 : 134.8, 137.1, 136.8, 136.2",
            "lambda_mecl",
            "1",
        ),
    ],
)
