import numpy as np

from segue.data.boxes import box_intersection, box_iou

BOXES = np.array([[0, 0, 4, 2], [2, 1, 4, 2], [4, 0, 1, 1], [1, 1, 0, 0]], float)


def test_intersections_by_hand():
    assert box_intersection(BOXES[:2], BOXES).tolist() == [[8, 2, 0, 0], [2, 8, 0, 0]]


def test_iou_by_hand_and_boxes_without_area_share_nothing():
    assert np.allclose(box_iou(BOXES[:1], BOXES), [[1, 2 / 14, 0, 0]])
    assert box_iou(BOXES[3:], BOXES[3:]).tolist() == [[0]]
    assert box_iou(BOXES[:0], BOXES).shape == (0, 4)
