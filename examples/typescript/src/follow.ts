// Print events as JSON lines, and progress as lines with nothing but a cursor. The filter is JSON.
import { followLog } from './logFeed.js';
import { signIn } from './service.js';

const [url, email, password, filter = 'null', after] = process.argv.slice(2);
if (!url || !email || !password) throw new Error('usage: follow URL E-MAIL PASSWORD [FILTER [CURSOR]]');

const show = (line: object) => console.log(JSON.stringify(line));
const events = followLog({
  url,
  signIn: () => signIn(url, email, password),
  filter: JSON.parse(filter) as Record<string, unknown> | null,
  after,
  onProgress: (cursor) => show({ cursor }),
});
for await (const event of events) show(event);
