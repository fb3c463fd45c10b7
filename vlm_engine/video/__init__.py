"""Videos in, frames out.

- ``container``: open a file or another source with FFmpeg, demux its packets
- ``timestamps``: PTS and DTS, time base, frame rate, clocks that jump
- ``index``: all packets without decoding: key frames, sizes, lost stretches
- ``probe``: from the index to ``VideoInfo``
- ``cuts``: cut hints from packet sizes and key frames
- ``seek``: get to the packet of a key frame
- ``decoder``: decode the frame at a time, and as little as possible besides
- ``render``: a decoded frame as an upright sRGB picture; black bars
- ``reader``: ``VideoReader``, which serves frames by their times
- ``read_frames``: single frames as JPEGs, for pages that show them
- ``self_test``: the decoders that are there, and a tiny video made and read back
"""

from vlm_engine.video.probe import identity_of, probe
from vlm_engine.video.reader import VideoReader

__all__ = ["VideoReader", "identity_of", "probe"]
