// Print the table as a line of JSON whenever it has changed, and otherwise how far it has come: a cursor alone.
import { keepTable } from './accountActivity.js';
import { parseArguments, run, signIn } from './service.js';

const [url, email, password] = parseArguments('table.js URL E-MAIL PASSWORD', 3, 3) as [string, string, string];

let shown = '';
await run(async () => {
  const tables = keepTable({
    url,
    signIn: () => signIn(url, email, password),
    onTrades: (trades) => console.error(`${trades} trades read`),
  });
  for await (const { cursor, table } of tables) {
    const lines = JSON.stringify(table);
    console.log(JSON.stringify(lines === shown ? { cursor } : { cursor, table }));
    shown = lines;
  }
});
