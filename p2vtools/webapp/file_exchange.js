// Two buttons that send files to the kernel, piece by piece, and downloads of what the kernel sends.
const LONGEST_SIDE = 2048;  // of a photo, as p2vtools.capture.mat_capture.MAX_PHOTO_SIDE
const PIECE = 2 ** 22;
const PATIENCE = 120_000;  // milliseconds until an answer of the kernel counts as lost

// A photo as a small JPEG without EXIF; any other file, or a photo that this browser cannot read, as it is.
async function shrink(file) {
  const url = URL.createObjectURL(file), image = new Image();
  try {
    image.src = url;
    await image.decode();
    const scale = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(scale * image.naturalWidth);
    canvas.height = Math.round(scale * image.naturalHeight);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise(done => canvas.toBlob(blob => done(blob || file), "image/jpeg", 0.95));
  } catch {
    return file;
  } finally {
    URL.revokeObjectURL(url);
  }
}

function save(name, bytes) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function render({ model, el }) {
  el.classList.add("p2v-files");
  const status = document.createElement("div");
  status.setAttribute("role", "status");
  let answer = () => {};

  const ask = (content, buffers) => new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the connection is lost")), PATIENCE);
    answer = message => { clearTimeout(timer); resolve(message.accepted); };
    model.send(content, undefined, buffers);
  });

  const sendFile = async (file, title) => {
    const content = model.get("photos") ? await shrink(file) : file;
    if (!await ask({ kind: "begin", name: file.name, size: content.size })) return;
    for (let start = 0; start < content.size; start += PIECE) {
      const piece = await content.slice(start, start + PIECE).arrayBuffer();
      status.textContent = `${title} … ${Math.round(100 * (start + piece.byteLength) / content.size)} %`;
      if (!await ask({ kind: "piece" }, [piece])) return;
    }
    status.textContent = `${title}: being checked …`;
    await ask({ kind: "end" });
  };

  const sendAll = async files => {
    buttons.forEach(button => { button.disabled = true; });
    try {
      for (const [index, file] of files.entries()) {
        await sendFile(file, files.length > 1 ? `Sending ${index + 1} of ${files.length}` : "Sending");
      }
      status.textContent = "";
    } catch (error) {
      status.textContent = `Not everything arrived: ${error.message}. What is shown below has arrived; choose the rest again.`;
    }
    update();
  };

  const make = (label, camera) => {
    const input = Object.assign(document.createElement("input"), { type: "file", hidden: true });
    const button = Object.assign(document.createElement("button"), { textContent: label });
    if (camera) {
      input.setAttribute("capture", "environment");
      button.className = "p2v-camera";
    }
    input.accept = model.get("photos") ? "image/*,.heic,.heif" : ".zip,.r3d";
    input.multiple = model.get("photos") && !camera;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      sendAll(files);
    });
    el.append(button, input);
    return button;
  };
  const buttons = model.get("photos") ? [make("Take a photo", true), make("Choose photos", false)] : [make("Choose the export", false)];
  el.append(status);

  const update = () => buttons.forEach(button => { button.disabled = model.get("disabled"); });
  model.on("change:disabled", update);
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "save") save(message.name, buffers[0]);
    else answer(message);
  });
  update();
}

export default { render };
