"""Two short programs for users, written beside an exported file, that run it."""

from pathlib import Path

from decant.workspace import replacing

PYTHON = '''"""The class of a photo: python example.py photo.jpg (needs numpy, onnxruntime and pillow)."""
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(Path(__file__).with_name("student.onnx"), providers=["CPUExecutionProvider"])
classes, accept = (json.loads(session.get_modelmeta().custom_metadata_map[key]) for key in ("classes", "accept"))
photo = ImageOps.exif_transpose(Image.open(sys.argv[1]))  # as the camera was held
if photo.mode.startswith(("I", "F")): sys.exit("this photo has more than 8 bits per grey value; save it with 8 bits")
photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA")).convert("RGB")
probabilities, logits = session.run(["probabilities", "logits"], {"images": np.asarray(photo)[None]})  # [1, H, W, 3]
best, probability = int(probabilities[0].argmax()), probabilities[0].max()
accepted = probability >= accept["threshold"] and np.log(np.exp(logits[0]).sum()) >= accept["log_sum_threshold"]
print(f"{classes[best]} {probability:.4f}", "accepted" if accepted else "not accepted")
'''

NODE = """// The class of a photo: node example.mjs photo.jpg (needs npm install onnxruntime-node sharp)
import { readFileSync } from 'node:fs';
import ort from 'onnxruntime-node';
import sharp from 'sharp';

const read = (name) => readFileSync(new URL(name, import.meta.url));
const [classes, accept] = [String(read('classes.txt')).split('\\n'), JSON.parse(read('accept.json'))];
const session = await ort.InferenceSession.create(read('student.onnx'));
const photo = sharp(process.argv[2], { ignoreIcc: true });
if ((await photo.metadata()).depth !== 'uchar') throw new Error('more than 8 bits per channel; save it with 8 bits');
const { data, info } = await photo.rotate() // as the camera was held
  .flatten({ background: 'white' }).toColourspace('srgb').raw().toBuffer({ resolveWithObject: true });
const images = new ort.Tensor('uint8', new Uint8Array(data), [1, info.height, info.width, 3]);
const { probabilities: { data: probabilities }, logits: { data: logits } } = await session.run({ images });
const highest = Math.max(...probabilities), logSum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
const accepted = highest >= accept.threshold && logSum >= accept.log_sum_threshold;
console.log(classes[probabilities.indexOf(highest)], highest.toFixed(4), accepted ? 'accepted' : 'not accepted');
"""

EXAMPLES = {"example.py": PYTHON, "example.mjs": NODE}


def write_examples(folder: Path) -> None:
    """Write `example.py` and `example.mjs` beside `student.onnx`, `classes.txt` and `accept.json`, atomically."""
    for name, text in EXAMPLES.items():
        with replacing(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
