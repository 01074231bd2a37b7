"""What the paper of CoCu claims, and the rows that test it. Our copy of the paper has neither tables nor figures."""

from functools import partial

from segue.lab.claims.model import NO_ROW, Claim, Comparison, Paper

scenes = partial(Comparison, "cocu_scenes", "test", paired=True)


def against(other: str, group: str = "") -> tuple[Comparison, ...]:
    """CoCu against another system, with all names as labels of every picture, and with those that it shows."""
    return tuple(scenes(f"{metric}{group}", "full", other) for metric in ("miou", "oracle_miou"))


recovery = partial(Comparison, "cocu_recovery", "train")
photos = partial(Comparison, "labels_photos_grouping", paired=True)

PAPER = Paper(
    title="CoCu: open-vocabulary segmentation",
    data="CC3M and more, GroupViT at 224 pixels, 30 epochs; eight benchmarks. Our copy has the abstract and the "
    "figures' captions only: neither the pictures nor any of the four tables. The figures given here are second hand, "
    "and what the tables ablate is unknown to us",
    here={
        "cocu_scenes": "synthetic scenes from near, 32 classes, one caption a picture, 64 pixels, 400 steps; mIoU with "
        "all names as labels of every picture, then (oracle) with those that it shows. Prompts are trained by "
        "a loss of ours, `group_concept_loss`, but in the experiment picture_loss by the papers'",
        "cocu_recovery": "the train captions of these scenes and what they leave out",
        "cocu_real": "the archive of Flickr8k's photos with one caption each",
        "labels_photos_grouping": "groups on the frozen cells of a dual encoder of photos, trained on 2,000 of "
        "Flickr8k's with one caption each, 150 steps; scored on MSRC and CamVid with all names as labels, then (own) "
        "with those that a picture shows",
    },
    claims=[
        Claim(
            "Abstract",
            "Training with curated concepts is ahead of GroupViT",
            "none in our copy; second hand mIoU, not on one training set: VOC 51.4 : 52.3, COCO-Object 22.7 : 24.3",
            against("groupvit"),
        ),
        Claim(
            "Abstract",
            "The same with the papers' own loss of the prompts",
            "as above",
            tuple(
                Comparison("cocu_scenes", "picture_loss", metric, "full", "groupvit", paired=True)
                for metric in ("miou", "oracle_miou")
            ),
        ),
        Claim(
            "Abstract",
            "The same zero-shot on photos: street scenes",
            "Cityscapes 22.1 (second hand)",
            (photos("camvid", "miou", "groups, CoCu", "groups, caption's nouns"),),
        ),
        Claim(
            "Abstract",
            "The same zero-shot on photos: things and stuff",
            "Context and COCO-Stuff, no figures in our copy; COCO-Object 22.7 : 24.3 (second hand)",
            tuple(photos("msrc", metric, "groups, CoCu", "groups, caption's nouns") for metric in ("miou", "miou_own")),
        ),
        Claim(
            "Abstract",
            "State of the art on eight zero-shot benchmarks",
            "VOC, Context, COCO-Object, Stuff, Cityscapes, ADE20K and two of ImageNet-S",
            why="Needs CC3M or CC12M to train on, CLIP's weights to curate with, and the benchmarks",
        ),
        Claim(
            "Tables 1 to 4",
            "What they claim beyond the abstract",
            "not in our copy",
            why="What they claim is unknown to us",
        ),
        Claim(
            "Fig. 1 (a)",
            "It helps where captions leave a concept out: classes that they seldom name",
            "a picture",
            against("groupvit", "_seldom_named"),
        ),
        Claim(
            "Fig. 1 (b)",
            "Captions that CLIP retrieves for a picture are biased: they name a person, and neither grass nor sky",
            "a picture",
            why=f"{NO_ROW}no row retrieves captions by a picture; `expansion` goes from picture to picture",
        ),
        Claim(
            "Fig. 1 (a), (c)",
            "Captions miss concepts that neighbours' captions name, and the archive finds them: more than chance names",
            "a picture",
            (Comparison("cocu_real", "curation", "precision", "sampling", "frequent"),),
            "`frequent`: the three concepts that captions name most, for every photo",
        ),
        Claim(
            "Fig. 2",
            "Vision-driven expansion gains",
            "not in our copy",
            against("no_expansion"),
        ),
        Claim(
            "Fig. 2",
            "Text-to-vision-guided ranking gains",
            "not in our copy",
            against("no_ranking"),
        ),
        Claim(
            "Fig. 2",
            "Ranking makes the archive more often right",
            "not in our copy",
            (recovery("precision", "ranking", "expansion"),),
        ),
        Claim(
            "Abstract",
            "Cluster-guided sampling gains over drawing without clusters",
            "not in our copy",
            against("no_clustering"),
        ),
        Claim(
            "Abstract",
            "Cluster-guided sampling gains over always taking the three best",
            "not in our copy",
            against("top3"),
            "The released code takes the three best",
        ),
        Claim(
            "Abstract",
            "Sampling by clusters finds more of what captions leave out than ranking alone",
            "not in our copy",
            (recovery("recall", "sampling", "ranking"),),
        ),
        Claim(
            "Fig. 3 (a)",
            "Training converges faster: ahead after a quarter of the steps, and after half",
            "a figure of losses without numbers",
            tuple(scenes(f"miou_at_{share}", "full", "groupvit") for share in (25, 50)),
            "mIoU on val in place of the loss, which two sets of prompts make unlike",
        ),
        Claim(
            "Figs. 3 (b), 4",
            "Concepts that the caption does not name light up where they are",
            "pictures",
            why=f"{NO_ROW}no row counts heat maps; `miou_seldom_named` above is the nearest figure",
        ),
    ],
)
