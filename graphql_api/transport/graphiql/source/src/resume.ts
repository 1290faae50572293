import { type FieldNode, Kind, type OperationDefinitionNode, parse, print, visit } from "graphql";

/** Where a subscription may go on after a break, from the cursors that it was told. */
export class Place {
  #cursor: string | null = null;

  /** Takes the cursor of an event. One without leaves no place to go on from: what follows it can't be known. */
  seen(result: { data?: Record<string, unknown> | null }): void {
    const event = Object.values(result.data ?? {})[0] as { cursor?: unknown } | null | undefined;
    this.#cursor = typeof event?.cursor === "string" ? event.cursor : null;
  }

  /** Takes the cursor that the service sends while there is no event. */
  told(cursor: string): void {
    this.#cursor = cursor;
  }

  get isKnown(): boolean {
    return this.#cursor !== null;
  }

  /** The document, with the subscription's field beginning after the cursor. */
  resume(query: string): string {
    const cursor = this.#cursor;
    if (cursor === null) {
      return query;
    }
    return print(
      visit(parse(query), {
        OperationDefinition: (operation: OperationDefinitionNode) =>
          operation.operation === "subscription" ? undefined : false,
        Field: (field: FieldNode, _key, _parent, path) => (path.length === 5 ? beginAfter(field, cursor) : false),
        FragmentDefinition: () => false,
      }),
    );
  }
}

function beginAfter(field: FieldNode, cursor: string): FieldNode {
  const others = (field.arguments ?? []).filter(({ name }) => name.value !== "after" && name.value !== "backfill");
  const after = {
    kind: Kind.ARGUMENT,
    name: { kind: Kind.NAME, value: "after" },
    value: { kind: Kind.STRING, value: cursor },
  } as const;
  return { ...field, arguments: [...others, after] };
}
