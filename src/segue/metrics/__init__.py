"""Metrics: counts first, scores second."""

from segue.metrics.calibration import expected_calibration_error, fit_temperature
from segue.metrics.masks import Counts, class_miou, dice, iou, scores

__all__ = ["Counts", "class_miou", "dice", "expected_calibration_error", "fit_temperature", "iou", "scores"]
