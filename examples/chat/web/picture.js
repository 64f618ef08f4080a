// Pictures: making one small enough to send, as the bytes of a file.

// The server takes up to 512 KiB (MAX_PICTURE_BYTES in input.rs).
const MAX_BYTES = 512 * 1024;
const AS_THEY_ARE = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);
// Tried one after the other until the result is small enough.
const ATTEMPTS = [{ pixels: 1600, quality: 0.85 }, { pixels: 1024, quality: 0.8 }, { pixels: 640, quality: 0.7 }];

/** Turns a file into { media_type, bytes }, or throws an error whose message is for the visitor. */
export async function toPicture(file) {
  if (AS_THEY_ARE.has(file.type) && file.size <= MAX_BYTES) {
    return { media_type: file.type, bytes: await file.arrayBuffer() };
  }
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Error("This file is not a picture that can be shown.");
  });
  try {
    for (const { pixels, quality } of ATTEMPTS) {
      const blob = await shrink(bitmap, pixels, quality);
      if (blob.size <= MAX_BYTES) {
        return { media_type: blob.type, bytes: await blob.arrayBuffer() };
      }
    }
  } finally {
    bitmap.close();
  }
  throw new Error("This picture is too large.");
}

function shrink(bitmap, pixels, quality) {
  const scale = Math.min(1, pixels / Math.max(bitmap.width, bitmap.height));
  const canvas = new OffscreenCanvas(
    Math.max(1, Math.round(bitmap.width * scale)),
    Math.max(1, Math.round(bitmap.height * scale)),
  );
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.convertToBlob({ type: "image/jpeg", quality });
}
