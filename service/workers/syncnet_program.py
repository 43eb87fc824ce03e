"""The program that measures a video with SyncNet, run by service/workers/syncnet.py.

It runs in the environment that has the package syncnet-python, and imports nothing of this one. Its
arguments are the video, the weights of the face detector and of SyncNet, a folder for temporary
files and the file to write: a JSON object with `tracks`, a row of `offset` in frames, `lse_c` and
`lse_d` for each face that was followed, and `frames`, the number of frames with a face.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    import torch
    from syncnet_python.syncnet_pipeline import SyncNetPipeline

    video, detector, network, scratch, target = sys.argv[1:]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = SyncNetPipeline(s3fd_weights=detector, syncnet_weights=network, device=device)
    offsets, confidences, distances, _, _, faces, _ = pipeline.inference(video, cache_dir=scratch)
    rows = zip(offsets, confidences, distances, strict=True)
    tracks = [{"offset": row[0], "lse_c": row[1], "lse_d": row[2]} for row in rows]
    frames = {face["frame"] for face in json.loads(faces or "[]")}
    Path(target).write_text(json.dumps({"tracks": tracks, "frames": len(frames)}))


if __name__ == "__main__":
    main()
