"""Writes weights of the real networks of syncnet-python, for `python weights.py FOLDER`.

SyncNet's are random. The face detector's find one face in every frame, 0.8 of it wide and high: all
are zero but the biases of its last layer.
"""

import math
import sys
from pathlib import Path

import torch
from syncnet_python.detectors.s3fd.nets import S3FDNet
from syncnet_python.SyncNetModel import S

BOX, SIDE = 0.8, 256 / 4  # of the frame; pixels of the frame as the detector sees it
PRIOR = 512 / SIDE  # of the frame: the largest box that it begins with
VARIANCE = 0.2  # by which it multiplies


def main() -> None:
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    torch.save(S().state_dict(), folder / "syncnet_v2.model")
    detector = S3FDNet(device="cpu")
    with torch.no_grad():
        for weights in detector.parameters():
            weights.zero_()
        for layer in detector.conf:
            layer.bias[-2:] = torch.tensor([9.0, -9.0])
        detector.conf[0].bias[:3] = 9.0
        detector.conf[-1].bias[:] = torch.tensor([-9.0, 9.0])
        detector.loc[-1].bias[2:] = math.log(BOX / PRIOR) / VARIANCE
    torch.save(detector.state_dict(), folder / "sfd_face.pth")


if __name__ == "__main__":
    main()
