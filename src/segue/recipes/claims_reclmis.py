"""What the paper of RecLMIS claims, and the rows that test it."""

from functools import partial

from segue.recipes.claims import Claim, Comparison, Paper

CHEST = "reclmis_chest"
main = partial(Comparison, CHEST, "main", "miou")
REAL_LVIT = (
    "LViT's code is not in the house. Stand-in: `early_fusion`, which joins the note to the picture before the encoder"
)
NO_ROW = "No row of ours moves this"

PAPER = Paper(
    title="RecLMIS: masks from pictures and notes",
    data="QaTa-COV19 (5,716 X-rays to train) and MosMedData+ (2,183 CT slices), 224 pixels, 200 and 500 epochs",
    here={
        CHEST: "drawn chest phantoms with notes (1,500 to train, 300 to test), 64 pixels, 240 steps",
        "reclmis_pareto": "the same, and multiply-accumulates at 224 pixels, batch 1",
        "reclmis_real": "56 chest X-rays to train and 9 to score, nuclei 24 and 6; 224 pixels, 60 steps from scratch",
    },
    claims=[
        Claim(
            "Table I",
            "Ahead of the U-Net, which reads no notes",
            "QaTa Dice 85.22 : 79.02, mIoU 77.00 : 69.46; MosMed 77.48 : 64.60, 65.07 : 50.73",
            (Comparison(CHEST, "main", "dice", "full", "unet"), main("full", "unet")),
        ),
        Claim(
            "Table I",
            "The same on real chest X-rays",
            "QaTa Dice 85.22 : 79.02",
            (Comparison("reclmis_real", "covid_cxr", "dice", "full", "unet"),),
        ),
        Claim(
            "Table I",
            "The same on nuclei (a data set of LViT's, not of this paper)",
            "—",
            (Comparison("reclmis_real", "monuseg", "dice", "full", "unet"),),
        ),
        Claim(
            "Table I",
            "Ahead of LViT, the strongest before it",
            "QaTa Dice 85.22 : 83.66, mIoU 77.00 : 75.11; MosMed 77.48 : 74.57, 65.07 : 61.33",
            (Comparison(CHEST, "main", "dice", "full", "early_fusion"), main("full", "early_fusion")),
            REAL_LVIT,
        ),
        Claim(
            "Table I",
            "Ahead of 13 further systems, among them nnUNet, LAVT, DMMI, RefSegformer",
            "QaTa mIoU 77.00 : 70.81, 69.89, 75.66, 75.48",
            why="Needs QaTa-COV19 or MosMedData+ and these systems, most of them with pretrained weights",
        ),
        Claim(
            "Table III (a), (e)",
            "The full model is ahead of the same network without notes",
            "mIoU 76.44 : 70.00",
            (main("full", "text_blind"),),
        ),
        Claim(
            "Table III (d), (e)",
            "Conditioned interaction (CI) alone gains",
            "mIoU 73.35 : 70.00",
            (main("ci", "text_blind"),),
        ),
        Claim(
            "Table III (b), (d)",
            "Vision reconstruction (CVR) gains over CI",
            "mIoU 75.98 : 73.35",
            (main("ci_cvr", "ci"),),
        ),
        Claim(
            "Table III (c), (d)",
            "Language reconstruction (CLR) gains over CI",
            "mIoU 75.84 : 73.35",
            (main("ci_clr", "ci"),),
        ),
        Claim("Table III (a), (b)", "CLR gains over CI and CVR", "mIoU 76.44 : 75.98", (main("full", "ci_cvr"),)),
        Claim("Table III (a), (c)", "CVR gains over CI and CLR", "mIoU 76.44 : 75.84", (main("full", "ci_clr"),)),
        Claim(
            "Table III (a), (d)",
            "Both reconstructions together gain over CI",
            "mIoU 76.44 : 73.35",
            (main("full", "ci"),),
        ),
        Claim(
            "Table IV, first row",
            "Conditions W_poi and W_woi gain over none",
            "mIoU 76.44 : 75.57",
            (Comparison(CHEST, "conditions", "miou", "with", "without"),),
        ),
        Claim(
            "Table IV, other rows",
            "Taking the condition from one module alone (CCL, CLR or CVR) costs",
            "mIoU 76.44 : 75.97, 75.94, 76.19",
            why=f"{NO_ROW}: `conditions` takes them all or none",
        ),
        Claim(
            "Fig. 7",
            "Masking by interest is ahead of masking at random",
            "a figure without numbers",
            (Comparison(CHEST, "masking", "miou", "interest", "random"),),
        ),
        Claim(
            "Fig. 8",
            "Masking 0.5 of the patches is best",
            "a figure without numbers; 0.9 is said to be worse",
            tuple(Comparison(CHEST, "mask_ratio_vision", "miou", "0.5", other) for other in ("0.3", "0.9")),
        ),
        Claim(
            "Fig. 8",
            "Masking 0.3 of the words is best",
            "a figure without numbers",
            tuple(Comparison(CHEST, "mask_ratio_text", "miou", "0.3", other) for other in ("0.1", "0.5")),
        ),
        Claim(
            "Table V, rows 1 and 4",
            "In CI, cross attention is ahead of self attention",
            "mIoU 76.44 : 69.87",
            (Comparison(CHEST, "attention", "miou", "ci_cross_rec_cross", "ci_self_rec_cross"),),
        ),
        Claim(
            "Table V, rows 3 and 4",
            "In the reconstructions, cross attention is ahead of self attention",
            "mIoU 76.44 : 75.98",
            (Comparison(CHEST, "attention", "miou", "ci_cross_rec_cross", "ci_cross_rec_self"),),
        ),
        Claim("Table V, row 2", "Self attention in both is worst", "mIoU 69.51", why=f"{NO_ROW} in both at once"),
        Claim(
            "Fig. 11",
            "Three layers of the reconstructors are best",
            "a figure without numbers; 1 and 7 are said to be worse",
            tuple(Comparison(CHEST, "reconstruction_layers", "miou", "3", other) for other in ("1", "7")),
        ),
        Claim(
            "Fig. 12",
            "Whatever the loss weights and the learning rate, it stays ahead of LViT",
            "mIoU above 75.11",
            why=f"{NO_ROW}, and LViT is not here",
        ),
        Claim(
            "Fig. 14",
            "The mask follows the note: another note, another mask",
            "pictures",
            (Comparison(CHEST, "main", "dice", "full", "full_shuffled_notes"),),
            "Under other pictures' notes the same model must lose",
        ),
        Claim(
            "Fig. 14",
            "The same on real chest X-rays",
            "pictures",
            (Comparison("reclmis_real", "covid_cxr", "dice", "full", "full_shuffled_notes"),),
        ),
        Claim(
            "Fig. 13",
            "W_poi marks the edges of the lungs, W_woi the words of place",
            "pictures",
            why="No row counts it. On phantoms both settle on a few patches and words that tell little "
            "([segment-by-notes.md](segment-by-notes.md))",
        ),
        Claim(
            "Tables I, II",
            "55.5 % less computing than LViT",
            "24.1 : 54.1 GFLOPs",
            (Comparison("reclmis_pareto", "pareto", "gmac", "faithful", 12.06, less=True),),
            "The paper's two figures are of batch 1 and batch 2. Like for like, LViT's code counts 27.1 GMAC at "
            "batch 1, so that the claim means 12.06 at most; `faithful` is the paper's size",
        ),
        Claim(
            "Tables I, II",
            "The same of our default size, which is also ahead of the paper's size",
            "—",
            (
                Comparison("reclmis_pareto", "pareto", "gmac", "segue (w32)", 12.06, less=True),
                Comparison("reclmis_pareto", "pareto", "dice", "segue (w32)", "faithful"),
            ),
            "Ours, not the paper's",
        ),
        Claim(
            "Tables I, II",
            "20.2 % fewer parameters than LViT at inference",
            "23.7 : 29.7 M",
            why="No row counts parameters; `segue bench reclmis` prints ours. LViT is not here",
        ),
        Claim(
            "Table II",
            "Trains with less computing than LViT, though with more parameters",
            "36.62 : 54.1 GFLOPs, 74.2 : 29.7 M",
            why="LViT is not here, and no row counts a training step",
        ),
        Claim(
            "Table II",
            "Converges in half of LViT's time",
            "7.5 : 16 hours on four RTX 3090",
            why="Needs QaTa-COV19, 200 epochs and LViT",
        ),
        Claim(
            "Table II",
            "46.3 % less time a picture than LViT",
            "20.3 : 37.8 ms on an RTX 3090",
            why="LViT is not here to be timed beside it; `segue bench reclmis` prints ours",
        ),
    ],
)
