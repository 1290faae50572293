import { endpoint } from "./config.ts";

export type Headers = Record<string, string>;

/** Send one operation. Rejects only where no answer came. */
export function post(request: object, headers: Headers = {}): Promise<Response> {
  return fetch(endpoint, {
    method: "POST",
    headers: {
      accept: "application/graphql-response+json, application/json;q=0.9",
      "content-type": "application/json",
      ...headers,
    },
    body: JSON.stringify(request),
  });
}

/** The GraphQL response in an HTTP response. Rejects what isn't JSON, such as a proxy's error page. */
export async function read(response: Response): Promise<any> {
  if (!response.headers.get("content-type")?.includes("json")) {
    throw new Error(`HTTP ${response.status} ${response.statusText}: the answer isn't JSON.`);
  }
  return response.json();
}
