// Print events as JSON lines, and progress as lines with nothing but a cursor. The filter is JSON.
import { followLog } from './logFeed.js';
import { parseArguments, run, signIn } from './service.js';

const usage = 'follow.js URL E-MAIL PASSWORD [FILTER [CURSOR]]';
const [url, email, password, filter = 'null', after] = parseArguments(usage, 3, 5) as [
  ...[string, string, string],
  ...(string | undefined)[],
];

const show = (line: object) => console.log(JSON.stringify(line));
await run(async () => {
  const events = followLog({
    url,
    signIn: () => signIn(url, email, password),
    filter: JSON.parse(filter) as Record<string, unknown> | null,
    after,
    onProgress: (cursor) => show({ cursor }),
  });
  for await (const event of events) show(event);
});
