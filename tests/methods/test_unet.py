import golden
from contract.segmenters import NOTES, SegmenterContract, batch
from segue.methods.unet import UNet, UNetConfig


class TestUNet(SegmenterContract):
    def make(self):
        return UNet(UNetConfig(features=(4, 4, 8, 8, 16, 4)))


def test_weights_mean_what_they_meant():
    network = golden.set_weights(TestUNet().make()).eval()
    golden.same_as_before("unet", **network.training_step(batch()), logits=network(batch()["image"], NOTES))
