import { createServer } from "node:http";
import { postgraphile } from "postgraphile";
import { grafserv } from "postgraphile/grafserv/node";
import preset from "./graphile.config.mjs";

const server = createServer();
await postgraphile(preset).createServ(grafserv).addTo(server);
server.listen(preset.grafserv.port, preset.grafserv.host);
