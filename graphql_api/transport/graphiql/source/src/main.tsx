import "graphiql/style.css";
import "./style.css";

import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";

import { makeAccessible } from "./accessible.ts";
import { Answered } from "./answer.tsx";
import { QUERY_BUILDER } from "./builder.tsx";
import { config, NARROW } from "./config.ts";
import { EarlierEvents } from "./earlier.tsx";
import { fetcher } from "./fetcher.ts";
import { SIGN_IN, Who } from "./signin.tsx";

function Page() {
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={PLUGINS}
      defaultTabs={config.tabs.map((tab) => ({ ...tab, headers: null }))}
      defaultEditorToolsVisibility={!NARROW.matches}
      shouldPersistHeaders={false}
    >
      <GraphiQL.Logo>
        <Who />
      </GraphiQL.Logo>
      <GraphiQL.Footer>
        <EarlierEvents />
        <Answered />
      </GraphiQL.Footer>
    </GraphiQL>
  );
}

const PLUGINS = [SIGN_IN, QUERY_BUILDER];

const root = document.getElementById("graphiql")!;
createRoot(root).render(<Page />);
makeAccessible(root);
