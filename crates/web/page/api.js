// Requests to the API. Paths are relative to the page, so that it works below any path of a proxy.

export class ApiError extends Error {
  constructor(status, body) {
    super((body && body.error) || `HTTP ${status}`);
    this.status = status;
    this.body = body || {};
  }
}

export async function api(path, options) {
  const { method = "GET", body, signal } = options || {};
  const headers = method === "GET" ? {} : { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(`api/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, null);
  }
  let value = null;
  try {
    value = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // An error from a proxy has no JSON.
  }
  if (!response.ok) throw new ApiError(response.status, value);
  return value;
}

export const segment = (name) => encodeURIComponent(name);
