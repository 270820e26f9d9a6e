// Requests to the daemon that serves this page.

/** Milliseconds that an answer may take. The daemon itself gives up on a loop after 5 s. */
const PATIENCE = 10_000;

/** Milliseconds that an answer may take for which a user waits: it is not asked for again. */
const USERS_PATIENCE = 60_000;

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
async function request(method, path, body, patience) {
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
export async function read(path, patience = PATIENCE) {
  const response = await request("GET", path, undefined, patience);
  if (!response.ok) {
    throw new Refused((await response.text()).trim());
  }
  return response.json();
}

/** What /readyz says against being ready; "" where it is. */
export async function unready() {
  const response = await request("GET", "/readyz", undefined, PATIENCE);
  return response.ok ? "" : (await response.text()).trim();
}

/** Whether the daemon takes a POST at `path`: it says so when it refuses a GET. */
export async function takes(path) {
  const response = await request("GET", path, undefined, PATIENCE);
  return response.status === 405;
}

/** Whether the daemon takes the present token; it throws where it does not. */
export async function check() {
  await read("/stats", USERS_PATIENCE);
}

/** Changes something; returns what the daemon says of it. */
export async function change(method, path, body = {}, patience = USERS_PATIENCE) {
  const response = await request(method, path, JSON.stringify(body), patience);
  const said = (await response.text()).trim();
  if (!response.ok) {
    throw new Refused(said);
  }
  return said;
}
