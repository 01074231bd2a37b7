"""A tiny segmenter on disk, the command line run in this process, and which tests `make test-fast` leaves out."""

import inspect
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segue.nn.devices

# marker -> what gives it to a test: a file or a folder/ in its path, its own name, a fixture or a helper that it names
LANES: dict[str, set[str]] = {
    "browser": {"serving/test_page.py"},
    "server": {"serving/", "lab/bench/test_serve.py", "lab/bench/test_endpoints.py", "lab/tables/test_serve.py"},
    "notebooks": {"tests/test_notebooks.py"},
    "java": {
        "need_java", "java_lines", "test_a_meteor_that_dies_is_not_computed",
        "test_the_mean_of_the_shown_scores_is_what_is_printed",
    },
    "ray": {"ray"},
    "training": {
        "recipes/", "commands/test_training.py", "lab/bench/", "lab/tables/", "lab/baselines/",
        "training/test_processes.py",
        "methods/sgdiff/test_stages.py", "methods/cocu/groupvit/test_two_processes.py",
        "test_toy_pictures_are_memorised", "test_a_few_pairs_are_learned_both_ways",
        "test_the_loop_trains_it_and_its_checkpoint_answers",
        "test_the_loop_trains_it_and_its_checkpoint_knows_the_pictures",
        "test_a_few_layouts_are_learned_and_come_back", "test_a_few_steps_lower_the_loss",
    },
    "slow": {
        "api/test_determinism.py", "synthetic/scenes/test_sampling.py", "synthetic/scenes/language/test_captions.py",
        "api/test_counts.py", "integrations/test_gradio.py",
        "api/test_to_onnx.py", "commands/test_completion.py", "tests/test_docs.py", "commands/demo/", "tools/",
        "test_the_demo_writes_a_page_with_its_pictures", "test_a_predictor_loads_its_own_modules_and_not_the_others",
        "test_meteor_is_what_pycocoevalcap_says", "test_each_thing_fills_its_box_and_stays_in_it",
        "test_memory_stays_bounded", "test_a_picture_is_described_again_only_if_something_has_changed",
        "test_the_same_bytes_whatever_the_workers", "test_colours_keep_their_names",
        "test_relations_that_no_such_things_have", "test_a_killed_run_resumes_to_the_same_table",
        "test_said_and_left_out_are_all_that_is_to_be_seen", "test_killed_run_goes_on_to_an_equal_file",
        "test_the_sizes_keep_their_promises", "test_what_is_said_is_so", "test_windows_cover_a_large_picture",
        "test_every_caption_is_drawn_as_it_says_and_with_nothing_else", "test_parity_with_pycocoevalcap",
        "tiny_diffusion", "write_diffusion", "test_the_papers_experiments_start_and_go_on",
        "test_killed_again_and_again_it_comes_to_the_same_bytes", "test_the_real_program_gives_the_same_scores_again",
        "test_equals_monai", "methods/test_unet.py", "draw_plots",  # which load monai and matplotlib
        "test_a_folder_without_a_model_is_refused", "test_a_model_of_the_hub_is_read_at_its_revision",  # diffusers
        "test_a_hundred_thousand_concepts", "test_a_vocabulary_of_a_hundred_thousand_words",
        "test_a_vocabulary_of_a_hundred_thousand_words_is_read",
        "test_a_published_protocol_is_the_released_one_pixel_by_pixel", "test_long_small_and_large_pictures",
        "test_a_released_file_is_evaluated_by_two_commands",
        "lab/claims/", "test_hostile_values_load_or_are_refused_in_one_line", "test_words_of_any_script_are_drawn",
        "test_the_best_caption_of_each_picture_is_scored", "test_index_and_colour_masks_are_captioned",
        "test_published_protocols_score_val_unless_asked_otherwise", "test_layouts_are_written_with_their_exports",
        "test_a_trained_model_draws_and_captions_layouts", "test_photographs_are_named_by_the_bundled_encoder",
        "test_the_command_captions_a_picture_and_a_folder", "test_the_command_prints_writes_draws_or_fills",
        "test_large_pictures_of_imagenet_s_are_shrunk_first",
        "test_a_model_of_package_encoders_keeps_their_weights_out", "test_eval_of_a_captioner",
        "test_pictures_and_their_cells_are_named", "test_a_command_loads_few_modules",
        "test_captioning_loads_no_transformers_no_compiler_no_filters_and_no_detector",
        "test_of_several_tries_the_one_stays_from_which_the_caption_is_likeliest",
        "test_without_a_model_the_bundled_one_names", "test_layouts_are_drawn_of_pictures_that_come_one_by_one",
        "test_a_folder_of_transformers_is_copied_whether_safetensors_or_pickle",
        "test_initialisation_uses_the_groups_and_tells_pictures_apart", "test_checkpoint_round_trip_both_ways",
        "test_a_picture_unlike_those_of_the_training_is_told_and_refused_if_strict",
        "test_a_picture_unlike_those_of_the_training_is_reported_and_refused_if_strict",
        "test_a_few_layouts_are_learned", "test_thousands_of_names_are_answered_and_those_of_another_case_are_one",
        "test_a_dual_encoder_and_a_segmenter_bring_the_clip_of_their_texts", "lab/test_engine.py",
        "test_a_predictor_is_called_like_its_job_and_its_answer_keeps_the_picture",
        "test_sizes_that_the_weights_have_not_are_refused_before_memory_is_taken",
    },
}  # fmt: skip
LEAVE_OUT = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf")  # options of pytest: -k, -m, ...

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the hub, nor waits for it; as the Makefile does
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # tests are of the CPU wherever they run, though `auto` is a GPU
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="segue-tests-")  # not the user's; processes inherit it
segue.nn.devices.has_fast_bf16 = lambda kind: False  # `auto` is float32 on every machine; tests of bf16 ask for it

NOTES = ["Bilateral pulmonary infection, two infected areas, all left lung and upper right lung."]


def pytest_configure(config: pytest.Config) -> None:
    """In CI every test is run: no option may leave one out."""
    if os.environ.get("SEGUE_CI") and (given := [name for name in LEAVE_OUT if config.getoption(name, None)]):
        raise pytest.UsageError(f"{', '.join(given)}: an option that leaves tests out, where SEGUE_CI asks for all")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files that `make test-fast` leaves out as a whole are not even imported: that took a fifth of its time."""
    left_out = re.fullmatch(r"not \((.*)\)", config.getoption("markexpr"))
    if left_out is None or {*left_out[1].split(" or ")} != {*LANES}:
        return None
    path = f"/{collection_path.as_posix()}{'/' * collection_path.is_dir()}"
    return any("/" in cause and f"/{cause}" in path for causes in LANES.values() for cause in causes) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its markers of LANES; they are registered in pyproject.toml."""
    for item in items:
        function = inspect.unwrap(item.function)
        if hasattr(function, "hypothesis"):  # hundreds of examples each
            item.add_marker("slow")
            function = function.hypothesis.inner_test
        names = {function.__name__, *function.__code__.co_names, *item.fixturenames}
        for marker, causes in LANES.items():
            if names & causes or any("/" in cause and f"/{cause}" in f"/{item.path.as_posix()}" for cause in causes):
                item.add_marker(marker)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    from segue.encoders.text.small import SmallTextEncoder
    from segue.methods.reclmis.config import RecLMISConfig
    from segue.methods.reclmis.model import build_reclmis
    from segue.methods.segmenters import SavedSegmenter, save_segmenter
    from segue.nn.preprocessing import Preprocessing

    torch.manual_seed(0)
    text = SmallTextEncoder(SmallTextEncoder.train_tokenizer(NOTES), width=16, layers=1, heads=2)
    network = build_reclmis(RecLMISConfig(widths=(8, 8, 16, 16)), text)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_segmenter(SavedSegmenter(network, Preprocessing(size=32), 1.2, {"recipe": "a test"}), folder)
    return folder


@pytest.fixture
def picture(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.png"
    Image.fromarray(rng.integers(0, 255, (40, 56, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def segue(capsys, tmp_path, monkeypatch):
    """Run `segue ARGS` in an empty folder of the test's own: (status, standard output, standard error)."""
    from segue.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> tuple[int, str, str]:
        status = 0
        try:
            main([str(a) for a in args])
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
