"""`segue data`: make, check, show and outline data sets."""

JOBS = {
    "make": "segue.commands.data_make:make",
    "check": "segue.commands.data_check:check",
    "show": "segue.commands.data_show:show",
    "outline": "segue.commands.data_outline:outline",
}
