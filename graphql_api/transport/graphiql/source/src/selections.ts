// What clicking queries together means for a document: default selections, default arguments, values from text.

import {
  type ArgumentNode,
  type FieldNode,
  getNamedType,
  getNullableType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLSchema,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isObjectType,
  isRequiredArgument,
  isRequiredInputField,
  Kind,
  type NameNode,
  type OperationDefinitionNode,
  parseType,
  parseValue,
  print,
  type SelectionNode,
  TypeInfo,
  type ValueNode,
  type VariableDefinitionNode,
  visit,
  visitWithTypeInfo,
} from "graphql";

type Maybe<T> = T | null | undefined;

const MAX_DEFAULT_DEPTH = 4;

/** What stands in a selection set that nothing is chosen of: GraphQL has no empty ones. */
const PLACEHOLDER: FieldNode = { kind: Kind.FIELD, name: nameOf("__typename") };

export function nameOf(value: string): NameNode {
  return { kind: Kind.NAME, value };
}

/** Returns a field as a click adds it: with the arguments it requires, and a first selection of its own. */
export function newField(field: GraphQLField<unknown, unknown>, depth = 0): FieldNode {
  const type = getNamedType(field.type);
  return {
    kind: Kind.FIELD,
    name: nameOf(field.name),
    arguments: field.args.filter(isRequiredArgument).map(newArgument),
    ...(isCompositeType(type) && {
      selectionSet: { kind: Kind.SELECTION_SET, selections: [firstSelection(type, depth + 1)] },
    }),
  };
}

/** Returns a selection of a type that says something: its id, its nodes, or what comes first. */
export function firstSelection(type: GraphQLNamedType, depth = 0): FieldNode {
  if (!(isObjectType(type) || isInterfaceType(type)) || depth > MAX_DEFAULT_DEPTH) {
    return PLACEHOLDER;
  }
  const fields = type.getFields();
  const free = Object.values(fields).filter(({ args }) => !args.some(isRequiredArgument));
  const field = fields.id ?? fields.nodes ?? free.find((one) => isLeafType(getNamedType(one.type))) ?? free[0];
  return field ? newField(field, depth) : PLACEHOLDER;
}

/** Returns `selections` with `before` replaced: added if there was none, removed if there is no `after`. */
export function replaced(
  selections: readonly SelectionNode[],
  before: SelectionNode | undefined,
  after: SelectionNode | null,
): readonly SelectionNode[] {
  const others = before ? selections : selections.filter((one) => !isPlaceholder(one));
  const result = before ? others.flatMap((one) => (one === before ? (after ?? []) : one)) : others.concat(after ?? []);
  return result.length > 0 ? result : [PLACEHOLDER];
}

function isPlaceholder(selection: SelectionNode): boolean {
  return selection.kind === Kind.FIELD && selection.name.value === PLACEHOLDER.name.value && !selection.alias;
}

export function isEmpty(selections: readonly SelectionNode[]): boolean {
  return selections.every(isPlaceholder);
}

function newArgument(argument: GraphQLArgument): ArgumentNode {
  return { kind: Kind.ARGUMENT, name: nameOf(argument.name), value: newValue(argument.type) };
}

/** Returns a value to begin with, which the server may refuse: nobody can guess an id. */
export function newValue(type: GraphQLInputType): ValueNode {
  const nullable = getNullableType(type);
  if (isListType(nullable)) {
    return { kind: Kind.LIST, values: [] };
  }
  if (isInputObjectType(nullable)) {
    const required = Object.values(nullable.getFields()).filter(isRequiredInputField);
    const fields = required.map((field) => ({
      kind: Kind.OBJECT_FIELD as const,
      name: nameOf(field.name),
      value: newValue(field.type),
    }));
    return { kind: Kind.OBJECT, fields };
  }
  if (isEnumType(nullable)) {
    return { kind: Kind.ENUM, value: nullable.getValues()[0]!.name };
  }
  switch (nullable.name) {
    case "Boolean":
      return { kind: Kind.BOOLEAN, value: true };
    case "Int":
    case "Float":
      return { kind: Kind.INT, value: "1" };
    default:
      return { kind: Kind.STRING, value: "" };
  }
}

/** Returns an operation whose variables are those that it uses: new ones declared, those no longer used left out. */
export function withVariables(
  schema: GraphQLSchema,
  before: OperationDefinitionNode,
  after: OperationDefinitionNode,
): OperationDefinitionNode {
  const [former, used] = [usedVariables(schema, before), usedVariables(schema, after)];
  const declared = (after.variableDefinitions ?? []).filter(
    ({ variable: { name } }) => used.has(name.value) || !former.has(name.value),
  );
  const known = new Set(declared.map(({ variable }) => variable.name.value));
  const added = [...used].flatMap(([name, type]) => (type && !known.has(name) ? [declaration(name, type)] : []));
  return { ...after, variableDefinitions: [...declared, ...added] };
}

/** The variables in arguments, each with the type of the place where it stands. */
function usedVariables(schema: GraphQLSchema, operation: OperationDefinitionNode): Map<string, Maybe<GraphQLInputType>> {
  const types = new TypeInfo(schema);
  const used = new Map<string, Maybe<GraphQLInputType>>();
  visit(
    operation,
    visitWithTypeInfo(types, {
      VariableDefinition: () => false,
      Variable: ({ name }) => void used.set(name.value, types.getInputType()),
    }),
  );
  return used;
}

function declaration(name: string, type: GraphQLInputType): VariableDefinitionNode {
  const variable = { kind: Kind.VARIABLE as const, name: nameOf(name) };
  return { kind: Kind.VARIABLE_DEFINITION, variable, type: parseType(type.toString()) };
}

/** Returns a value as a text field shows it; `valueFrom` reads it again. */
export function textOf(value: ValueNode | undefined): string {
  switch (value?.kind) {
    case Kind.STRING:
      return value.value;
    case Kind.LIST:
      return value.values.every((one) => one.kind !== Kind.OBJECT && one.kind !== Kind.LIST)
        ? value.values.map(textOf).join(", ")
        : print(value);
    default:
      return value ? print(value) : "";
  }
}

/** Returns the value that somebody typed for a type, null for none, or undefined where it can't be one. */
export function valueFrom(text: string, type: GraphQLInputType): ValueNode | null | undefined {
  const said = text.trim();
  if (said === "") {
    return null;
  }
  if (/^\$[_A-Za-z]\w*$/.test(said)) {
    return { kind: Kind.VARIABLE, name: nameOf(said.slice(1)) };
  }
  const nullable = getNullableType(type);
  if (isListType(nullable) && isLeafType(getNamedType(nullable)) && !said.startsWith("[")) {
    const values = said.split(",").map((one) => valueFrom(one, nullable.ofType));
    return values.includes(undefined) ? undefined : { kind: Kind.LIST, values: values.filter((one) => one != null) };
  }
  if (isLeafType(nullable) && !["Int", "Float", "Boolean", "JSON"].includes(nullable.name) && !isEnumType(nullable)) {
    return { kind: Kind.STRING, value: said };
  }
  return literal(said, nullable);
}

/** Returns a value in GraphQL's own notation, or undefined where it isn't one or is of another kind than the type. */
function literal(text: string, type: GraphQLInputType): ValueNode | undefined {
  try {
    const value = parseValue(text);
    const numeric = isLeafType(type) && (type.name === "Int" || type.name === "Float");
    const fits = !numeric || value.kind === Kind.INT || (type.name === "Float" && value.kind === Kind.FLOAT);
    return fits ? value : undefined;
  } catch {
    return undefined;
  }
}
