// Print the table as a line of JSON whenever it has changed, and otherwise how far it has come: a cursor alone.
import { keepTable } from './accountActivity.js';
import { signIn } from './service.js';

const [url, email, password] = process.argv.slice(2);
if (!url || !email || !password) throw new Error('usage: table URL E-MAIL PASSWORD');

let shown = '';
for await (const { cursor, table } of keepTable({ url, signIn: () => signIn(url, email, password) })) {
  const lines = JSON.stringify(table);
  console.log(JSON.stringify(lines === shown ? { cursor } : { cursor, table }));
  shown = lines;
}
