"""The inputs and outputs of an exported file: names, types and meaning. Imports nothing."""

FORMAT = "decant-classifier/1"
OPSET = 18  # later ones add nothing needed here and exclude older runtimes
IR_VERSION = 8  # released with opset 18
IMAGES, PIXELS = "images", "pixels"  # inputs of the full and the bare graph
PREPARED = "prepared"  # a tensor inside the full graph: the network's input, which verification reads
LOGITS, PROBABILITIES = "logits", "probabilities"
TEMPERED = "answer/tempered"  # a tensor inside the full graph: logits / temperature, before the softmax
PIXEL_VALUES = "pixel_values"  # input of the web graph, named as in transformers.js

INPUT = {
    "full": {
        "name": IMAGES,
        "dtype": "uint8",
        "layout": "NHWC, any height and width, the same within a batch",
        "channels": "RGB",
        "range": [0, 255],
        "orientation": "EXIF orientation is applied before the graph",
    },
    "bare": {
        "name": PIXELS,
        "dtype": "float32",
        "layout": "NCHW, height and width as in preprocessing: input_px",
        "channels": "RGB",
        "range": [0, 1],
        "orientation": "EXIF orientation, resize and crop are applied before the graph; the graph normalises",
    },
    "web": {
        "name": PIXEL_VALUES,
        "dtype": "float32",
        "layout": "NCHW, any height and width, the same within a batch",
        "channels": "RGB",
        "range": [0, 1],
        "orientation": "EXIF orientation is applied before the graph; nothing is resized, cropped or normalised there",
    },
}
OUTPUTS = {
    "full": {
        PROBABILITIES: "float32 [N, K], softmax(logits / temperature), in the order of classes",
        LOGITS: "float32 [N, K], before the temperature",
    },
    "bare": {LOGITS: "float32 [N, K], before the temperature"},
    "web": {LOGITS: "float32 [N, K], divided by the temperature: their softmax is the calibrated probability"},
}
