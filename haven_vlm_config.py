"""What you set for the plugin.

Plugin updates replace this file. So leave it as it is, and write what you want different into a file
``haven_vlm_config.local.yaml`` beside it, with the same names as keys::

    MODEL: qwen3-vl-8b-instruct
    TAG_LIST: [Basketball point, Foul, Free throw]

What the settings page of Stash says goes before that file, and the arguments of a task before both.
"""

from __future__ import annotations

from typing import Any

# Servers that speak the OpenAI protocol. Only base_url is needed; weight is its likely speed against the others until that has
# been measured, max_concurrent its requests at once, a fallback works when no other can, model_id is its own name for the model.
ENDPOINTS = [
    {
        "base_url": "http://localhost:1234/v1",  # LM Studio on this machine
        "api_key": "",
        "name": "LM Studio",
        "weight": 1,
        "is_fallback": False,
        "max_concurrent": None,  # None: what the server tells, else one; "auto": as many as are found to pay
        "model_id": None,
    },
]

# The key for those of the endpoints that have none of their own ("api_key_env": "MY_KEY" reads one from the environment).
API_KEY = ""

# The vision model's name as the server knows it. Empty: the one that the server has loaded.
MODEL = ""

# What to look for: short names of what a single picture can show. To tell the model what one means, write it with its
# description: "Turnover" or {"Foul": "a player is fouled; the referee signals"}.
TAG_LIST = ["Basketball point", "Foul", "Break-away", "Turnover"]

# The same descriptions apart from the list, so that tags can be chosen elsewhere, as on Stash's page. A new description of a tag
# has that tag, and no other, asked about again. {"Foul": "a player is fouled; the referee signals"}
TAG_DESCRIPTIONS: dict[str, str] = {}

# Other names that the model's reply may call a tag by. It is not told of them. {"Foul": ["personal foul"]}
TAG_SYNONYMS: dict[str, list[str]] = {}

# The sentence that opens a question, such as "These are frames of a basketball match." Empty: the usual one. A change of the
# words that follow here has everything asked again.
PROMPT = ""
# The whole text before the picture, for those who want other words than the usual; {tags} stands for the list, and
# docs/prompts.md has the other fields. Empty: the usual text.
SYSTEM_PROMPT = ""
# The line behind the picture, in the same way. Empty: the usual one, {special_tokens} {question}.
USER_PROMPT = ""
# What opens the line behind the picture, such as /no_think.
SPECIAL_TOKENS = ""

# The longest time between two looks at the video, in seconds. 0: chosen by the search.
VIDEO_FRAME_INTERVAL = 0

# The shortest event that must not be missed, in seconds: the shorter, the more questions. 0: chosen by the search.
VIDEO_SHORTEST_EVENT = 0

# How hard to look: 1 as a rule, .5 asks about a fifth fewer questions, 2 a third more.
VIDEO_SEARCH_EFFORT = 1

# At most so many questions for an hour of video; they go where doubt is largest. 0: as many as are worth it.
VIDEO_QUESTIONS_PER_HOUR = 0

# An end of a marker that is expected to be off by no more than this is not refined further, in seconds.
VIDEO_EDGE_TOLERANCE = 0.5

# How sure a tag must be, from 0 to 1, in videos and in pictures. A rule's TagThreshold goes before it.
VIDEO_THRESHOLD = 0.5

# How many scenes are worked on at once. Of images it is always as many as the endpoints take.
CONCURRENT_TASK_LIMIT = 2

# Stash does one job at a time. After so many minutes a task that looks at videos or images lets the jobs that wait go first: it
# queues itself again behind them and goes on there. 0: it never does.
TIME_SLICE = 0

# False: tag the scenes only, make no markers.
CREATE_MARKERS = True

# Tag Images also takes all images of the galleries that carry the tag VLM_TagMe; a gallery loses it when all of them are done.
IMAGE_GALLERIES = True

# A gallery in line gets the tags that at least this share of its images has, from 0 to 1. 0: none.
GALLERY_TAG_SHARE = 0

# Ask Stash for the pictures whose files this machine cannot read, and for its thumbnails of those of a kind that is not read.
# False: these fail, and the log says where they were expected, or what they are.
IMAGE_FROM_STASH = True

# How the times at which a tag was seen become markers: those no further apart than MaxGap are one, shorter ones than
# MinMarkerDuration are dropped, and the scene gets the tag when RequiredDuration is left. "12s", 12, or "5%" of the video.
DEFAULT_TAG_RULE = {"MinMarkerDuration": "1s", "MaxGap": "1s", "RequiredDuration": "1s"}

# What differs for single tags: the same keys, TagThreshold, and RenamedTag (its name in Stash).
# {"Foul": {"RenamedTag": "Personal foul", "TagThreshold": 0.7}}
TAG_RULES: dict[str, dict[str, Any]] = {}

# Names of tags in Stash: the parent of every tag that the plugin makes, which also marks its markers;
VLM_BASE_TAG_NAME = "VLM"
# scenes and images that are to be tagged, by Tag Videos and Tag Images, and galleries all of whose images are;
VLM_TAGME_TAG_NAME = "VLM_TagMe"
# those that are to be gone over again, by Update Tagged Videos and Update Tagged Images;
VLM_UPDATEME_TAG_NAME = "VLM_UpdateMe"
# those that are done;
VLM_TAGGED_TAG_NAME = "VLM_Tagged"
# those that could not be done.
VLM_ERRORED_TAG_NAME = "VLM_Errored"

# Where this machine sees what Stash sees elsewhere: pairs of a folder there and the same one here, of which the longest that fits
# a path counts. {"/data/sport": "/mnt/nas/sport", "D:\\media": "/mnt/d/media"}, or in one line of text:
# "/data/sport => /mnt/nas/sport; D:\\media => /mnt/d/media"
PATH_MUTATION: dict[str, str] | str = {}

# True: a video whose file this machine does not get at is read through Stash, over the network. What is looked at comes from
# all over a video, so that may move most of it; where you can, say in PATH_MUTATION where the files are.
STREAM_FROM_STASH = False

# Seconds to wait for one answer.
REQUEST_TIMEOUT = 120
# Seconds to wait for an endpoint to come back when none works any more. Then the task ends, and what is not done stays queued.
ENDPOINT_PATIENCE = 300
# Let fallback endpoints help when a question would wait longer than so many seconds for the others. 0: only when no other works.
FALLBACK_WAIT = 0

# The longest side of the pictures that are sent, in pixels.
IMAGE_MAX_SIDE = 1024
# The same for the first scan of a video, which is most of the pictures: 512 costs a quarter of 1024. Raise it when small
# things are missed.
SCAN_IMAGE_MAX_SIDE = 512

# How many frames that scan asks about in one question: with four, a quarter of the questions for the same pictures. How well a
# model tells several pictures apart differs much, so try it on your own videos. A server that takes only one gets one.
SCAN_FRAMES_PER_QUESTION = 1

# How many moments of a moving image (GIF …) or of a clip are looked at, spread over all of it: one question for each.
IMAGE_FRAMES = 5
# Look at a large image (a panorama, a page) also in so many parts, at most 16: one question for each. 0: as a whole only.
IMAGE_PARTS = 0

# What decodes the videos: "" for the processor, or "cuda", "vaapi", "videotoolbox", "d3d11va", "qsv" for a graphics card
# that Stash's machine has; what it cannot decode, the processor does.
VIDEO_DECODING_DEVICE = ""

# Seconds to wait for a disk or network share that brings nothing more of a video or image; then it is given up.
VIDEO_STALL_TIMEOUT = 60

# How the frames of VR scenes are laid out, those with the tag that is set for VR in Stash (Settings > Interface). Only what one
# eye sees ahead is sent. "auto": as a file's name (Final_LR_180.mp4) or shape tells. Else where the eyes are and what each
# shows: "sbs-180", "tb-360", "mono-180", "sbs-fisheye190", "sbs-flat" … "off": VR scenes are treated like any other.
VR_LAYOUT = "auto"

# At most so many megabytes of answers are kept; then those about the videos that were not used for longest go. 2000 are about
# two million answers. 0: no limit.
STORE_MAX_MB = 2000

# Where each run leaves its report: a folder in the plugin's data folder, or one anywhere by its whole path.
REPORT_FOLDER = "reports"

# How many runs' reports are kept; the oldest go first. 0: all.
REPORTS_KEPT = 100

# A whole configuration of the engine, as other versions of this plugin had it here. Where there is one, its endpoints,
# model, tags and rules are taken instead of those above.
VLM_ENGINE_CONFIG: dict[str, Any] | None = None
