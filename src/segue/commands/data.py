"""`segue data`: make, check, show and outline data sets, and plan trainings on them."""

JOBS = {
    "make": "segue.commands.data_make:make",
    "check": "segue.commands.data_check:check",
    "show": "segue.commands.data_show:show",
    "outline": "segue.commands.data_outline:outline",
    "plan": "segue.commands.data_plan:plan",
}
