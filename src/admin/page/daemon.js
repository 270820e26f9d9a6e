// Requests to the daemon that serves this page.

/** How long an answer may take. The daemon itself gives up on a loop after 5 s. */
const PATIENCE = 10_000;

/** In memory only: it is not stored, and is gone when the page is. */
let token = null;

export function use(value) {
  token = value;
}

/** The daemon wants a token, or another one. */
export class Unauthorized extends Error {}

/** The daemon answered, and the answer is that it cannot. */
export class Refused extends Error {}

/** Asks for `path`, and returns the response, whatever it says. */
async function request(method, path, body, patience = PATIENCE) {
  const headers = {};
  if (token !== null) {
    headers["Authorization"] = `Bearer ${token}`;
  }
  if (method !== "GET") {
    headers["Content-Type"] = "application/json";
  }
  const signal = AbortSignal.timeout(patience);
  const options = { method, headers, body, signal, cache: "no-store", credentials: "omit", redirect: "error" };
  const response = await fetch(path, options);
  if (response.status === 401) {
    throw new Unauthorized();
  }
  return response;
}

/** The JSON at `path`. */
export async function read(path) {
  const response = await request("GET", path);
  if (!response.ok) {
    throw new Refused((await response.text()).trim());
  }
  return response.json();
}

/** What /readyz says against being ready; "" where it is. */
export async function unready() {
  const response = await request("GET", "/readyz");
  return response.ok ? "" : (await response.text()).trim();
}

/** Whether the daemon takes a POST at `path`: it says so when it refuses a GET. */
export async function takes(path) {
  const response = await request("GET", path);
  return response.status === 405;
}

/** Changes something; returns what the daemon says of it. */
export async function change(method, path, body = {}, patience = PATIENCE) {
  const response = await request(method, path, JSON.stringify(body), patience);
  const said = (await response.text()).trim();
  if (!response.ok) {
    throw new Refused(said);
  }
  return said;
}
