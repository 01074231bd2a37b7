from contract.segmenters import SegmenterContract
from segue.methods.unet import UNet, UNetConfig


class TestUNet(SegmenterContract):
    def make(self):
        return UNet(UNetConfig(features=(4, 4, 8, 8, 16, 4)))
