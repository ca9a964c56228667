// Predictions by the server that the page comes from.

/** {classes: [{class, probability}], accept, milliseconds} for an image. Throws a Refusal. */
export async function classify(image, name, model) {
  const form = new FormData();
  form.append('model', model);
  form.append('file', image, name);
  let response;
  try {
    response = await fetch('predict', { method: 'POST', body: form });
  } catch {
    throw new Refusal('unreachable', 'the server cannot be reached, or the image is too large for it');
  }
  const answer = await response.json().catch(() => ({}));
  const prediction = answer.predictions?.[0] ?? answer;
  if (!prediction.classes) {
    throw new Refusal(prediction.kind, prediction.reason ?? `the server answered with ${response.status}`);
  }
  return prediction;
}

/** Why an image has no prediction. kind: a word for programs. */
export class Refusal extends Error {
  constructor(kind, reason) {
    super(reason);
    this.kind = kind;
  }
}
