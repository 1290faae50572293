// Writes answers of the service into a client's normalising cache, one after the other, then reads each again:
// every list must show what it showed before. Says what differs.
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { buildSchema, introspectionFromSchema, parse } from "graphql";

const [client, questionsFile, schemaFile, artifacts] = process.argv.slice(2);
const questions = JSON.parse(readFileSync(questionsFile, "utf8"));

const caches = {
  async apollo() {
    const { InMemoryCache } = await import("@apollo/client");
    const { cacheOptions } = await import("./page/apollo.js");
    const cache = new InMemoryCache(cacheOptions);
    const parsed = questions.map(({ text, variables }) => ({ query: parse(text), variables }));
    return {
      write: (number) => cache.writeQuery({ ...parsed[number], data: questions[number].data }),
      read: (number) => cache.readQuery(parsed[number]),
    };
  },

  async urql() {
    const { Client, fetchExchange } = await import("@urql/core");
    const { cacheExchange } = await import("@urql/exchange-graphcache");
    const { cacheOptions } = await import("./page/urql.js");
    const schema = introspectionFromSchema(buildSchema(readFileSync(schemaFile, "utf8")));
    let data;
    const urql = new Client({
      url: "http://127.0.0.1/",
      preferGetMethod: false,
      fetch: async () => new Response(JSON.stringify({ data }), { headers: { "content-type": "application/json" } }),
      exchanges: [cacheExchange({ ...cacheOptions, schema }), fetchExchange],
    });
    const ask = async (number, requestPolicy) => {
      ({ data } = questions[number]);
      const { text, variables } = questions[number];
      const answer = await urql.query(text, variables, { requestPolicy }).toPromise();
      if (answer.error) throw answer.error;
      return answer.data;
    };
    return { write: (number) => ask(number, "network-only"), read: (number) => ask(number, "cache-only") };
  },

  async relay() {
    const { createOperationDescriptor } = (await import("relay-runtime")).default;
    const { relayOf } = await import("./page/relay.js");
    const environment = relayOf("", undefined, undefined);
    const operations = await Promise.all(
      questions.map(async ({ variables }, number) => {
        const { default: artifact } = await import(`${artifacts}/q${number}Query.graphql.js`);
        return createOperationDescriptor(artifact, variables);
      }),
    );
    operations.forEach((operation) => environment.retain(operation));
    return {
      write: (number) => environment.commitPayload(operations[number], questions[number].data),
      read: (number) => withoutRefs(environment.lookup(operations[number].fragment).data),
    };
  },
};

/** What a list holds, without what Relay keeps beside it. */
function withoutRefs(value) {
  return JSON.parse(JSON.stringify(value, (key, part) => (key.startsWith("__") && key !== "__typename" ? undefined : part)));
}

const complaints = [];
for (const level of ["warn", "error"]) console[level] = (...parts) => complaints.push(parts.map(String).join(" "));
const cache = await caches[client]();
for (const number of questions.keys()) await cache.write(number);
const differing = [];
for (const number of questions.keys()) {
  const shown = JSON.parse(JSON.stringify((await cache.read(number)) ?? null));
  if (!isDeepStrictEqual(shown, questions[number].data)) differing.push(questions[number].name);
}
console.log(JSON.stringify({ asked: questions.length, differing, complaints: [...new Set(complaints)] }));
