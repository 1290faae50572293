// Print events as JSON lines, and progress as lines with nothing but a cursor. The filter is JSON.
import WebSocket from 'ws';
import { followLog } from './logFeed.js';

const [url, email, password, filter = 'null', after] = process.argv.slice(2);
if (!url || !email || !password) throw new Error('usage: follow URL E-MAIL PASSWORD [FILTER [CURSOR]]');

const LOGIN = `
  mutation Login($email: String!, $password: String!) {
    login(email: $email, password: $password) { accessToken userErrors { message } }
  }
`;

async function signIn(): Promise<string> {
  const response = await fetch(url!, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: LOGIN, variables: { email, password } }),
  });
  const { data } = (await response.json()) as {
    data: { login: { accessToken: string | null; userErrors: { message: string }[] } };
  };
  if (data.login.accessToken === null) throw new Error(data.login.userErrors[0]?.message);
  return data.login.accessToken;
}

await signIn(); // a wrong password is no broken connection
const show = (line: object) => console.log(JSON.stringify(line));
const events = followLog({
  url,
  signIn,
  filter: JSON.parse(filter),
  after,
  onProgress: (cursor) => show({ cursor }),
  webSocketImpl: WebSocket,
});
for await (const event of events) show(event);
