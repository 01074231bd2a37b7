"""Recipes, which are trainings with their settings, by name, as strings: `segue train` imports only the one it runs."""

RECIPES: dict[str, str] = {  # training functions; the default of their argument `settings` is the recipe
    "cocu": "segue.recipes.cocu:train_cocu",
    "cocu-cc12m": "segue.recipes.cocu:train_cocu_cc12m",
    "cocu-cc3m": "segue.recipes.cocu:train_cocu_cc3m",
    "cocu-scenes": "segue.recipes.cocu:train_cocu_scenes",
    "crossmodal": "segue.recipes.crossmodal:train_crossmodal",
    "crossmodal-scenes": "segue.recipes.crossmodal:train_crossmodal_scenes",
    "dual-encoder": "segue.recipes.dual_encoder:train_dual_encoder",
    "dual-encoder-photos": "segue.recipes.dual_encoder:train_dual_encoder_photos",
    "dual-encoder-scenes": "segue.recipes.dual_encoder:train_dual_encoder_scenes",
    "reclmis": "segue.recipes.reclmis:train_reclmis",
    "reclmis-chest": "segue.recipes.reclmis:train_reclmis_chest",
    "relations": "segue.recipes.relations:train_relations",
    "sgdiff": "segue.recipes.sgdiff:train_sgdiff",
    "sgdiff-scenes": "segue.recipes.sgdiff:train_sgdiff_scenes",
    "syntic": "segue.recipes.syntic:train_syntic",
    "syntic-cc3m-zeroshot": "segue.recipes.syntic:train_syntic_cc3m_zeroshot",
    "syntic-coco": "segue.recipes.syntic:train_syntic_coco",
    "syntic-flickr30k": "segue.recipes.syntic:train_syntic_flickr30k",
    "syntic-photos": "segue.recipes.syntic:train_syntic_photos",
    "syntic-scenes": "segue.recipes.syntic:train_syntic_scenes",
}
