// Predictions in the browser itself, by onnxruntime-web. Nothing is sent.
import * as ort from './ort.wasm.min.mjs';

const at = (name) => new URL(name, import.meta.url).href;
const { maxPixels } = document.body.dataset;
ort.env.wasm.wasmPaths = at('./');
ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
const loaded = Promise.all([
  fetch(at('model.json')).then((response) => response.json()),
  ort.InferenceSession.create(at('student.onnx'), { executionProviders: ['wasm'] }),
]);
let last = Promise.resolve(); // a session answers one call at a time

/** {classes: [{class, probability}], accept, milliseconds} for an image. Throws a Refusal. */
export async function classify(image) {
  const [model, session] = await loaded;
  const began = performance.now();
  const images = await decoded(image);
  const run = last.then(() => session.run({ images }));
  last = run.catch(() => {});
  const { probabilities, logits } = await run;
  const classes = model.classes.map((name, index) => ({ class: name, probability: probabilities.data[index] }));
  classes.sort((one, other) => other.probability - one.probability);
  return {
    classes,
    accept: model.accept && accepts(model.accept, classes[0].probability, logits.data),
    milliseconds: performance.now() - began,
  };
}

/** The upright image as uint8 [1, height, width, 3], on white where it is transparent. */
async function decoded(image) {
  // Without conversion of colours, as in training: profiles are ignored.
  const bitmap = await createImageBitmap(image, {
    imageOrientation: 'from-image', colorSpaceConversion: 'none', premultiplyAlpha: 'none',
  }).catch(() => {
    throw new Refusal('not_an_image', 'not an image, damaged, or of a format that this browser does not read');
  });
  const { width, height } = bitmap;
  if (width * height > maxPixels) {
    throw new Refusal('too_many_pixels', `${width} x ${height} pixels, more than ${maxPixels / 1e6} megapixels`);
  }
  const pen = new OffscreenCanvas(width, height).getContext('2d', { alpha: false, willReadFrequently: true });
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, width, height);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = pen.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4) {
    pixels[to++] = data[from];
    pixels[to++] = data[from + 1];
    pixels[to++] = data[from + 2];
  }
  return new ort.Tensor('uint8', pixels, [1, height, width, 3]);
}

function accepts([threshold, logSumThreshold], probability, logits) {
  const highest = Math.max(...logits);
  const logSum = highest + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - highest), 0));
  return probability >= threshold && logSum >= logSumThreshold;
}

export const locate = null; // this page has no maps

/** Why an image has no prediction. kind: a word for programs. */
export class Refusal extends Error {
  constructor(kind, reason) {
    super(reason);
    this.kind = kind;
  }
}
