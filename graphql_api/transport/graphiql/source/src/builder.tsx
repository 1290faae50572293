import { type GraphiQLPlugin, useEditorContext, useSchemaStore } from "@graphiql/react";
import {
  type ArgumentNode,
  type DocumentNode,
  type FieldNode,
  getNamedType,
  getNullableType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLSchema,
  type InlineFragmentNode,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isObjectType,
  isRequiredArgument,
  Kind,
  type ObjectFieldNode,
  type OperationDefinitionNode,
  OperationTypeNode,
  parse,
  print,
  type SelectionNode,
  type ValueNode,
} from "graphql";
import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from "react";

import {
  firstSelection,
  isEmpty,
  nameOf,
  newField,
  newValue,
  replaced,
  textOf,
  valueFrom,
  withVariables,
} from "./selections.ts";

type Editor = NonNullable<ReturnType<typeof useEditorContext>>["queryEditor"];

/** Replaces what stands between two places of the editor's text. */
type Write = (text: string, from: number, to: number) => void;

export const QUERY_BUILDER: GraphiQLPlugin = {
  title: "Query Builder",
  icon: () => (
    <svg viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.25" aria-hidden="true">
      <path d="M2 3.5l1.2 1.2L5.5 2M2 11.5l1.2 1.2L5.5 10M8 4h6M8 12h6" strokeLinecap="round" />
    </svg>
  ),
  content: QueryBuilder,
};

/** Fields and arguments to click an operation together. Its only state is the text in the editor. */
function QueryBuilder() {
  const schema = useSchemaStore((store) => store.schema);
  const { queryEditor, tabs, activeTabIndex } = useEditorContext({ nonNull: true });
  const [text, write] = useEditorText(queryEditor);
  const document = useMemo(() => read(text), [text]);
  return (
    <section className="query-builder" aria-label="Query Builder">
      <h1>Query Builder</h1>
      {!document && <p role="status">The operation can't be read as it stands. Once it can, go on by clicking.</p>}
      {schema && document && (
        <Operations key={tabs[activeTabIndex]?.id} schema={schema} document={document} end={text.length} write={write} />
      )}
    </section>
  );
}

function useEditorText(editor: Editor): [string, Write] {
  const subscribe = useCallback(
    (changed: () => void) => {
      editor?.on("change", changed);
      return () => editor?.off("change", changed);
    },
    [editor],
  );
  const text = useSyncExternalStore(subscribe, () => editor?.getValue() ?? "");
  const write: Write = (replacement, from, to) =>
    editor?.replaceRange(replacement, editor.posFromIndex(from), editor.posFromIndex(to));
  return [text, write];
}

/** The document of a text, with no definitions if it says nothing; null if it can't be read. */
function read(text: string): DocumentNode | null {
  if (!text.replaceAll(/#.*/g, "").trim()) {
    return { kind: Kind.DOCUMENT, definitions: [] };
  }
  try {
    return parse(text);
  } catch {
    return null;
  }
}

interface OperationsProps {
  schema: GraphQLSchema;
  document: DocumentNode;
  end: number;
  write: Write;
}

/** The operations of a document, and new ones: which is worked on, and its fields. */
function Operations({ schema, document, end, write }: OperationsProps) {
  const operations = document.definitions.filter((one) => one.kind === Kind.OPERATION_DEFINITION);
  const kinds = Object.values(OperationTypeNode).filter((kind) => schema.getRootType(kind));
  const [chosen, choose] = useState("0");
  const kind = kinds.find((one) => one === chosen) ?? (operations.length === 0 ? OperationTypeNode.QUERY : undefined);
  const operation = kind ? newOperation(kind, operations.length) : (operations[Number(chosen)] ?? operations[0]!);

  function change(selections: readonly SelectionNode[]) {
    const { start, end: stop } = operation.loc ?? { start: end, end };
    const selectionSet = { ...operation.selectionSet, selections };
    const after = withVariables(schema, operation, { ...operation, selectionSet });
    const gap = end > 0 && !operation.loc ? "\n\n" : "";
    write(isEmpty(selections) ? "" : gap + print(after), start, stop);
    choose(String(kind ? operations.length : operations.indexOf(operation)));
  }

  return (
    <>
      <label>
        Operation{" "}
        <select value={kind ?? String(operations.indexOf(operation))} onChange={(event) => choose(event.target.value)}>
          {operations.map((one, index) => (
            <option key={index} value={index}>
              {one.operation} {one.name?.value ?? ""}
            </option>
          ))}
          {kinds.map((one) => (
            <option key={one} value={one}>
              New {one}
            </option>
          ))}
        </select>
      </label>
      <Selections
        schema={schema}
        type={schema.getRootType(operation.operation)!}
        of={operation.operation}
        selections={operation.selectionSet.selections}
        onChange={change}
      />
    </>
  );
}

/** An operation that isn't in the text yet. One of several needs a name. */
function newOperation(operation: OperationTypeNode, others: number): OperationDefinitionNode {
  const name = others > 0 ? nameOf(`New${others + 1}`) : undefined;
  return { kind: Kind.OPERATION_DEFINITION, operation, name, selectionSet: { kind: Kind.SELECTION_SET, selections: [] } };
}

interface SelectionsProps {
  schema: GraphQLSchema;
  type: GraphQLNamedType;
  /** What the selections are of, as a reader would call it. */
  of: string;
  selections: readonly SelectionNode[];
  onChange: (selections: readonly SelectionNode[]) => void;
}

/** All fields of a type, and those of the types that it may be. */
function Selections({ schema, type, of, selections, onChange }: SelectionsProps) {
  const fields = isObjectType(type) || isInterfaceType(type) ? Object.values(type.getFields()) : [];
  const types = isAbstractType(type) ? schema.getPossibleTypes(type) : [];
  return (
    <ul aria-label={`Fields of ${of}`}>
      {fields.map((field) => {
        const selection = selections.find(
          (one): one is FieldNode => one.kind === Kind.FIELD && one.name.value === field.name,
        );
        const change = (after: FieldNode | null) => onChange(replaced(selections, selection, after));
        return <Field key={field.name} schema={schema} field={field} selection={selection} onChange={change} />;
      })}
      {types.map((each) => {
        const selection = selections.find(
          (one): one is InlineFragmentNode =>
            one.kind === Kind.INLINE_FRAGMENT && one.typeCondition?.name.value === each.name,
        );
        const change = (after: InlineFragmentNode | null) => onChange(replaced(selections, selection, after));
        return <Fragment key={each.name} schema={schema} type={each} selection={selection} onChange={change} />;
      })}
    </ul>
  );
}

interface FieldProps {
  schema: GraphQLSchema;
  field: GraphQLField<unknown, unknown>;
  selection: FieldNode | undefined;
  onChange: (selection: FieldNode | null) => void;
}

function Field({ schema, field, selection, onChange }: FieldProps) {
  const type = getNamedType(field.type);
  const given = selection?.arguments ?? [];
  const title = [field.description, field.deprecationReason && `Deprecated: ${field.deprecationReason}`];
  return (
    <li>
      <Choice
        label={field.name}
        title={title.filter(Boolean).join("\n\n")}
        deprecated={field.deprecationReason != null}
        checked={selection !== undefined}
        onChange={(checked) => onChange(checked ? newField(field) : null)}
      />
      {selection && field.args.length > 0 && (
        <details open={given.length > 0}>
          <summary>Arguments of {field.name}</summary>
          <Inputs
            inputs={field.args}
            values={new Map(given.map(({ name, value }) => [name.value, value]))}
            onChange={(values) =>
              onChange({ ...selection, arguments: nodes(values, (name, value): ArgumentNode => ({ kind: Kind.ARGUMENT, name, value })) })
            }
          />
        </details>
      )}
      {selection?.selectionSet && isCompositeType(type) && (
        <Selections
          schema={schema}
          type={type}
          of={field.name}
          selections={selection.selectionSet.selections}
          onChange={(selections) =>
            onChange({ ...selection, selectionSet: { kind: Kind.SELECTION_SET, selections } })
          }
        />
      )}
    </li>
  );
}

interface FragmentProps {
  schema: GraphQLSchema;
  type: GraphQLNamedType;
  selection: InlineFragmentNode | undefined;
  onChange: (selection: InlineFragmentNode | null) => void;
}

function Fragment({ schema, type, selection, onChange }: FragmentProps) {
  function fragment(selections: readonly SelectionNode[]): InlineFragmentNode {
    const typeCondition = { kind: Kind.NAMED_TYPE as const, name: nameOf(type.name) };
    return { kind: Kind.INLINE_FRAGMENT, typeCondition, selectionSet: { kind: Kind.SELECTION_SET, selections } };
  }
  return (
    <li>
      <Choice
        label={`… on ${type.name}`}
        title={type.description ?? ""}
        checked={selection !== undefined}
        onChange={(checked) => onChange(checked ? fragment([firstSelection(type)]) : null)}
      />
      {selection && (
        <Selections
          schema={schema}
          type={type}
          of={type.name}
          selections={selection.selectionSet.selections}
          onChange={(selections) => onChange(fragment(selections))}
        />
      )}
    </li>
  );
}

interface ChoiceProps {
  label: string;
  title: string;
  deprecated?: boolean;
  checked: boolean;
  onChange: (checked: boolean) => void;
}

function Choice({ label, title, deprecated = false, checked, onChange }: ChoiceProps) {
  return (
    <label title={title} className={deprecated ? "deprecated" : undefined}>
      <input type="checkbox" checked={checked} onChange={(event) => onChange(event.target.checked)} /> {label}
    </label>
  );
}

type Values = ReadonlyMap<string, ValueNode>;

function nodes<T>(values: Values, node: (name: ReturnType<typeof nameOf>, value: ValueNode) => T): T[] {
  return [...values].map(([name, value]) => node(nameOf(name), value));
}

interface InputsProps {
  inputs: readonly (GraphQLArgument | GraphQLInputField)[];
  values: Values;
  onChange: (values: Values) => void;
}

/** Arguments of a field, or fields of an input object: those without a value are left out. */
function Inputs({ inputs, values, onChange }: InputsProps) {
  return (
    <ul>
      {inputs.map((input) => (
        <li key={input.name}>
          <Input
            name={input.name}
            title={input.description ?? ""}
            type={input.type}
            required={isRequiredArgument(input as GraphQLArgument)}
            value={values.get(input.name)}
            onChange={(value) => {
              const after = new Map(values);
              if (value) {
                after.set(input.name, value);
              } else {
                after.delete(input.name);
              }
              onChange(after);
            }}
          />
        </li>
      ))}
    </ul>
  );
}

interface InputProps {
  name: string;
  title: string;
  type: GraphQLInputType;
  required: boolean;
  value: ValueNode | undefined;
  onChange: (value: ValueNode | null) => void;
}

function Input(props: InputProps) {
  const type = getNullableType(props.type);
  const { value } = props;
  if (value?.kind === Kind.VARIABLE) {
    return <TextInput {...props} />;
  }
  if (isInputObjectType(type)) {
    return <ObjectInput {...props} />;
  }
  if (isListType(type) && isEnumType(getNullableType(type.ofType))) {
    return <EnumListInput {...props} />;
  }
  return isEnumType(type) || type.toString() === "Boolean" ? <SelectInput {...props} /> : <TextInput {...props} />;
}

function TextInput({ name, title, type, required, value, onChange }: InputProps) {
  const shown = textOf(value);
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]); // changed in the editor
  const read = valueFrom(text, type);
  return (
    <label title={title}>
      {name}{" "}
      <input
        value={text}
        placeholder={type.toString()}
        aria-required={required}
        aria-invalid={read === undefined}
        spellCheck={false}
        onChange={(event) => {
          setText(event.target.value);
          const typed = valueFrom(event.target.value, type);
          if (typed !== undefined) {
            onChange(typed ?? (required ? newValue(type) : null));
          }
        }}
      />
    </label>
  );
}

function SelectInput({ name, title, type, required, value, onChange }: InputProps) {
  const nullable = getNullableType(type);
  const words = isEnumType(nullable) ? nullable.getValues().map((one) => one.name) : ["true", "false"];
  return (
    <label title={title}>
      {name}{" "}
      <select value={textOf(value)} onChange={(event) => onChange(valueFrom(event.target.value, type) ?? null)}>
        {!required && <option value="" />}
        {words.map((word) => (
          <option key={word}>{word}</option>
        ))}
      </select>
    </label>
  );
}

function EnumListInput({ name, title, type, required, value, onChange }: InputProps) {
  const values = value?.kind === Kind.LIST ? value.values.map(textOf) : [];
  const words = getNamedType(type);
  return (
    <fieldset title={title}>
      <legend>{name}</legend>
      {isEnumType(words) &&
        words.getValues().map(({ name: word, description }) => (
          <Choice
            key={word}
            label={word}
            title={description ?? ""}
            checked={values.includes(word)}
            onChange={(checked) => {
              const after = checked ? [...values, word] : values.filter((one) => one !== word);
              const enums = after.map((one) => ({ kind: Kind.ENUM as const, value: one }));
              onChange(enums.length > 0 || required ? { kind: Kind.LIST, values: enums } : null);
            }}
          />
        ))}
    </fieldset>
  );
}

function ObjectInput({ name, title, type, required, value, onChange }: InputProps) {
  const inputType = getNullableType(type);
  const given = value?.kind === Kind.OBJECT ? value.fields : undefined;
  if (!isInputObjectType(inputType)) {
    return null;
  }
  return (
    <>
      <Choice
        label={name}
        title={title}
        checked={given !== undefined}
        onChange={(checked) => onChange(checked || required ? newValue(type) : null)}
      />
      {given && (
        <Inputs
          inputs={Object.values(inputType.getFields())}
          values={new Map(given.map((field) => [field.name.value, field.value]))}
          onChange={(values) =>
            onChange({ kind: Kind.OBJECT, fields: nodes(values, (n, v): ObjectFieldNode => ({ kind: Kind.OBJECT_FIELD, name: n, value: v })) })
          }
        />
      )}
    </>
  );
}
