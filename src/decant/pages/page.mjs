// What happens on the page: images are chosen, dropped, pasted or taken, predicted, shown, and saved as a table.
import { Refusal, classify, locate } from './backend.mjs';

const AT_ONCE = 2;
const TOO_LARGE = ['too_many_pixels', 'too_many_bytes', 'unreachable'];
const find = (id) => document.getElementById(id);
const { maxBytes, maxPixels, mapped } = document.body.dataset;
const results = find('results');
const rows = []; // of the table, the oldest first
const queue = [];
const severalModels = find('model').tagName === 'SELECT';
let running = 0;

document.documentElement.classList.add('script');
for (const id of ['file', 'camera']) {
  find(id).addEventListener('change', ({ target }) => {
    add([...target.files]);
    target.value = ''; // so that the same image can be chosen again
  });
}
find('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = event.submitter?.value;
  if (event.submitter?.name !== 'sample') return;
  const response = await fetch(`samples/${encodeURIComponent(name)}`);
  if (response.ok) add([new File([await response.blob()], name)]);
});
document.addEventListener('paste', (event) => add([...(event.clipboardData?.files ?? [])]));
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', (event) => {
  if (!event.relatedTarget) document.body.classList.remove('dropping');
});
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  add([...event.dataTransfer.files]);
});
find('model').addEventListener('change', ({ target }) => {
  for (const about of document.querySelectorAll('.about')) about.hidden = about.dataset.model !== target.value;
});
find('csv').addEventListener('click', () => save('predictions.csv', table(rows)));
find('clear').addEventListener('click', () => {
  for (const preview of results.querySelectorAll('img')) URL.revokeObjectURL(preview.src);
  results.replaceChildren();
  rows.length = queue.length = 0;
  find('results-section').hidden = true;
  find('file').focus();
});

/** Show a card for each image, newest first, and predict it when its turn comes. */
function add(files) {
  for (const file of files) {
    const card = find('card').content.firstElementChild.cloneNode(true);
    const preview = card.querySelector('.preview');
    preview.src = URL.createObjectURL(file);
    preview.addEventListener('error', () => preview.parentElement.remove()); // a format that this browser does not show
    card.querySelector('.name').textContent = file.name || 'pasted image';
    card.querySelector('.class').textContent = '…';
    card.classList.add('waiting');
    results.prepend(card);
    const model = find('model').value;
    card.querySelector('.model').textContent = severalModels ? model : '';
    const row = { path: file.name, model, reason: '', classes: [] };
    rows.push(row);
    queue.push({ file, card, row, model });
  }
  if (files.length) find('results-section').hidden = false;
  while (running < AT_ONCE && queue.length) work();
}

async function work() {
  running += 1;
  while (queue.length) await predict(queue.shift());
  running -= 1;
}

async function predict({ file, card, row, model }) {
  try {
    const answer = await smallEnough(file, model);
    if (!card.isConnected) return; // cleared meanwhile
    Object.assign(row, { classes: answer.classes, accept: answer.accept });
    show(card, answer);
    offerMap(card, file, model);
  } catch (error) {
    if (!card.isConnected) return;
    row.reason = error instanceof Refusal ? error.message : `failed: ${error.message}`;
    const reason = card.querySelector('.reason');
    reason.textContent = row.reason;
    reason.hidden = false;
    card.querySelector('.top').hidden = true;
    find('status').textContent = `${row.path || 'image'}: ${row.reason}`;
  }
  card.classList.remove('waiting');
}

/** The answer for the image, or for a smaller copy if it is above a limit. ask: of the backend. */
async function smallEnough(file, model, ask = classify) {
  try {
    if (file.size > maxBytes) throw new Refusal('too_many_bytes', `more than ${maxBytes / 1e6} MB`);
    return await ask(file, file.name || 'image', model);
  } catch (error) {
    if (!TOO_LARGE.includes(error.kind)) throw error;
    const copy = await smallerCopy(file).catch(() => null);
    if (!copy) throw error;
    return { ...(await ask(copy, file.name, model)), note: 'of a smaller copy, because the image is large' };
  }
}

/** A JPEG within the limits; null if the image already is. */
async function smallerCopy(file) {
  const image = await createImageBitmap(file);
  const scale = Math.sqrt(Math.min(maxPixels, 12e6) / (image.width * image.height));
  if (scale >= 1 && file.size <= maxBytes) return null;
  const canvas = document.createElement('canvas');
  canvas.width = Math.floor(image.width * Math.min(scale, 1));
  canvas.height = Math.floor(image.height * Math.min(scale, 1));
  const pen = canvas.getContext('2d');
  pen.imageSmoothingQuality = 'high';
  pen.fillStyle = 'white';
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, 'image/jpeg', 0.92));
}

function show(card, { classes, accept, milliseconds, note }) {
  card.querySelector('.class').textContent = classes[0].class;
  card.querySelector('.unsure').hidden = accept !== false;
  const body = card.querySelector('tbody');
  for (const { class: label, probability } of classes) {
    const row = find('row').content.firstElementChild.cloneNode(true);
    row.querySelector('th').textContent = label;
    row.querySelector('rect').setAttribute('width', `${(100 * probability).toFixed(2)}%`);
    row.querySelector('.number').textContent = `${(100 * probability).toFixed(1)} %`;
    body.append(row);
  }
  card.querySelector('table').hidden = false;
  card.querySelector('.time').textContent = `${Math.round(milliseconds)} ms${note ? `, ${note}` : ''}`;
  const share = Math.round(100 * classes[0].probability);
  find('status').textContent = `${classes[0].class}, ${share} %${accept === false ? ', not sure' : ''}`;
}

/** A button that shows on the preview which places support the class. The server is asked once. */
function offerMap(card, file, model) {
  const [heat, map] = [card.querySelector('.heat'), card.querySelector('.map')];
  if (!heat || !JSON.parse(mapped).includes(model)) return;
  const [button, legend] = [map.querySelector('button'), map.querySelector('.legend')];
  map.hidden = false;
  button.addEventListener('click', async () => {
    const showing = button.getAttribute('aria-pressed') === 'true';
    button.setAttribute('aria-pressed', String(!showing));
    if (!showing && !heat.src) {
      try {
        const { picture, share, class: label } = await smallEnough(file, model, locate);
        heat.src = picture;
        legend.textContent = `Brighter: speaks more for “${label}” than for the other classes.`;
        if (share < 0.995) legend.textContent += ' Without colour: not seen by the model.';
      } catch (error) {
        button.setAttribute('aria-pressed', 'false');
        legend.textContent = error.message;
      }
    }
    heat.hidden = button.getAttribute('aria-pressed') === 'false';
    legend.hidden = heat.hidden && heat.src !== '';
    find('status').textContent = legend.hidden ? '' : legend.textContent;
  });
}

/** The columns of distill/predict.py. Several models: also the one that answered, and their classes side by side. */
function table(rows) {
  const names = [...new Set(rows.flatMap((row) => row.classes.map((entry) => entry.class)))];
  const named = severalModels ? ['model'] : [];
  const lines = [['path', ...named, 'class', 'probability', 'accept', 'reason', ...names.map((name) => `p(${name})`)]];
  for (const { path, model, classes, accept, reason } of rows) {
    const shares = new Map(classes.map((entry) => [entry.class, entry.probability.toFixed(6)]));
    const top = classes[0]?.class ?? '';
    const start = severalModels ? [path, model] : [path];
    lines.push([...start, top, shares.get(top) ?? '', accept ?? '', reason, ...names.map((name) => shares.get(name) ?? '')]);
  }
  return lines.map((cells) => cells.map(quoted).join(',')).join('\n') + '\n';
}

function quoted(cell) {
  return /[",\n\r]/.test(cell) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell);
}

function save(name, text) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
