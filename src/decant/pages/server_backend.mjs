// Predictions by the server that the page comes from.

/** {classes: [{class, probability}], accept, milliseconds} for an image. Throws a Refusal. */
export async function classify(image, name, model) {
  const [answer, status] = await sent('predict', image, name, model);
  const prediction = answer.predictions?.[0] ?? answer;
  if (!prediction.classes) throw refusal(prediction, status);
  return prediction;
}

/** {picture, class, share}: which places support the class, as an address, and the share that is seen. */
export async function locate(image, name, model) {
  const [answer, status] = await sent('map', image, name, model);
  if (!answer.picture) throw refusal(answer, status);
  return answer;
}

async function sent(address, image, name, model) {
  const form = new FormData();
  form.append('model', model);
  form.append('file', image, name);
  let response;
  try {
    response = await fetch(address, { method: 'POST', body: form });
  } catch {
    throw new Refusal('unreachable', 'the server cannot be reached, or the image is too large for it');
  }
  return [await response.json().catch(() => ({})), response.status];
}

function refusal({ kind, reason }, status) {
  return new Refusal(kind, reason ?? `the server answered with ${status}`);
}

/** Why an image has no prediction. kind: a word for programs. */
export class Refusal extends Error {
  constructor(kind, reason) {
    super(reason);
    this.kind = kind;
  }
}
