from typing import Any

import pytest
from graphql import build_schema

from graphql_api.execution.costs import MAX_SUMS, BaseCost, CostRule, check_rules
from graphql_api.execution.documents import Documents

SCHEMA = build_schema("""
    type Query {
      me: User
      tags: [String!]!
      users(first: Int, last: Int): UserConnection!
      nodes(ids: [ID!]!): [Node]!
      latest: [User!]!
    }
    interface Node { id: ID! }
    type User implements Node {
      id: ID!
      report: String
      friend: User
      boss: User
      friends(first: Int, last: Int): UserConnection!
      visitors(first: Int, last: Int): UserConnection!
      address: Address
      scores(top: Int = 7): [Score!]!
    }
    type Address { street: String }
    type Score { value: Int! }
    type UserConnection { edges: [UserEdge!]! nodes: [User!]! pageInfo: PageInfo! totalCount: Int! }
    type UserEdge { cursor: String! node: User! }
    type PageInfo { hasNextPage: Boolean! }
    type Subscription { users(backfill: Int! = 0): User }
""")
# As Strawberry gives defaults.
SCHEMA.type_map["User"].fields["scores"].args["top"].default_value = 7  # type: ignore[attr-defined]
SCHEMA.type_map["Subscription"].fields["users"].args["backfill"].default_value = 0  # type: ignore[attr-defined]

COST_RULES = {
    "totalCount": CostRule(5),
    "User.report": CostRule(40, alias_weight=3),
    "User.visitors": CostRule(slicing_arguments=("first", "last"), row_weight=6),
    "User.address": CostRule(statements=0),
    "User.boss": CostRule(statements=3),
    "Query.nodes": CostRule(slicing_arguments=("ids",)),
    "Query.latest": CostRule(3, assumed_size=2),
    "User.scores": CostRule(0, slicing_arguments=("top",), max_size=50),
    "Subscription.users": CostRule(slicing_arguments=("backfill",), assumed_size=1, max_size=1000),
}


class Shop:
    def __init__(self) -> None:
        self.documents = Documents(SCHEMA, cost_rules=COST_RULES)

    def cost(self, text: str, name: str | None = None, **variables: Any) -> int:
        formula = self.documents.get(text).operation(name).analysis.cost
        cost = formula.evaluate(variables)
        assert formula.constant in (None, cost)
        return cost


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.mark.parametrize(
    ("query", "points"),
    [
        ("{ tags __typename }", 0),
        ("{ me { id } }", 1),
        ("{ me { friend { id } } }", 2),
        ("{ a: me { id } b: me { id } }", 2),
        ("{ me { report } }", 41),
        ("{ __schema { types { fields { name } } } }", 0),
    ],
)
def test_an_object_is_a_point_and_a_leaf_has_its_weight(shop: Shop, query: str, points: int) -> None:
    assert shop.cost(query) == points


@pytest.mark.parametrize(
    ("query", "points"),
    [
        ("{ users { nodes { id } } }", 1 + 25),
        ("{ users(first: 10) { nodes { id } } }", 1 + 10),
        ("{ users(last: 10) { nodes { id } } }", 1 + 10),
        ("{ users(first: 10) { edges { cursor node { id } } } }", 1 + 10),
        ("{ users(first: 10) { edges { cursor } pageInfo { hasNextPage } } }", 1 + 10),
        ("{ users(first: 10) { pageInfo { hasNextPage } } }", 1 + 10),
        ("{ users(first: 10) { nodes { id } edges { node { id } } } }", 1 + 20),
        ("{ users(first: 10) { nodes { id } totalCount } }", 1 + 10 + 5),
        ("{ users(first: 10) { nodes { friends(first: 3) { nodes { id } } } } }", 1 + 10 * (2 + 3)),
        ("{ users(first: 10) { nodes { friends(first: 3) { totalCount } } } }", 1 + 10 * (2 + 3 + 5)),
        ("{ users(first: 4) { nodes { friend { report } } } }", 1 + 4 * (1 + 41)),
    ],
)
def test_pages_cost_what_their_rows_do(shop: Shop, query: str, points: int) -> None:
    assert shop.cost(query) == points


def test_many_leaves_of_an_object_cost_a_point_for_each_ten(shop: Shop) -> None:
    leaves = " ".join(f"a{number}: id" for number in range(30))
    assert shop.cost(f"{{ me {{ {leaves} }} }}") == 1 + 2
    assert shop.cost(f"{{ users(first: 10) {{ nodes {{ {leaves} }} }} }}") == 1 + 10 * (1 + 2)
    assert (
        shop.cost(
            f"{{ users(first: 10) {{ edges {{ node {{ ...F }} }} }} }} fragment F on User {{ {leaves} }}"
        )
        == 31
    )


def test_a_leaf_costs_less_for_each_further_alias_since_its_values_are_converted_once(shop: Shop) -> None:
    assert shop.cost("{ me { report a: report b: report } }") == 1 + 40 + 2 * 3
    assert shop.cost("{ me { a: report ... on User { b: report } } }") == 1 + 40 + 3
    assert shop.cost("{ me { report friend { report } } }") == 1 + 40 + 1 + 40


@pytest.mark.parametrize(
    "rows", ["nodes { id }", "edges { cursor }", "totalCount", "nodes { id } edges { cursor }"]
)
def test_a_row_may_have_a_weight_whatever_is_selected_of_it(shop: Shop, rows: str) -> None:
    total = 5 if rows == "totalCount" else 0
    assert shop.cost(f"{{ me {{ visitors(first: 10) {{ {rows} }} }} }}") == 1 + 1 + 10 * 7 + total


def test_a_place_costs_as_many_statements_as_it_takes_and_none_with_its_parent() -> None:
    documents = Documents(SCHEMA, cost_rules=COST_RULES, base_cost=BaseCost(operation=100, statement=60))
    costs = [
        documents.get(text).operation(None).analysis.cost.constant
        for text in (
            "{ me { id } }",
            "{ me { address { street } } }",
            "{ me { friend { id } } }",
            "{ me { boss { id } } }",
        )
    ]
    assert costs == [161, 162, 222, 342]


@pytest.mark.parametrize(
    ("query", "points"),
    [
        ("{ latest { id } }", 3 + 2),
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', 1 + 3),
        ('{ nodes(ids: "a") { id } }', 1 + 1),
        ("{ me { scores { value } } }", 1 + 7),
        ("{ me { scores(top: 3) { value } } }", 1 + 3),
        ("{ me { scores(top: 51) { value } } }", 1 + 50),
        ("subscription { users { id } }", 1),
        ("subscription { users(backfill: 20) { friend { id } } }", 1 + 20 * 2),
    ],
)
def test_a_list_has_as_many_rows_as_its_arguments_say(shop: Shop, query: str, points: int) -> None:
    assert shop.cost(query) == points


def test_page_sizes_may_come_by_variables(shop: Shop) -> None:
    query = "query ($n: Int) { users(first: $n) { nodes { id } } }"
    assert shop.cost(query, n=10) == 11
    assert shop.cost(query, n=10.0) == 11
    assert shop.cost(query) == shop.cost(query, n=None) == 26


def test_a_variable_that_is_left_out_has_its_default(shop: Shop) -> None:
    query = "query ($n: Int = 3) { users(first: $n) { nodes { id } } }"
    assert shop.cost(query) == 4
    assert shop.cost(query, n=2) == 3


def test_a_list_of_ids_may_come_by_a_variable(shop: Shop) -> None:
    query = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert shop.cost(query, ids=["a", "b"]) == 3
    assert shop.cost(query, ids="a") == 2


@pytest.mark.parametrize("size", ["many", {}, True, -5, 10**400])
def test_values_that_are_no_page_size_are_for_the_field_to_refuse(shop: Shop, size: Any) -> None:
    assert shop.cost("query ($n: Int) { users(first: $n) { nodes { id } } }", n=size) <= 101


def test_as_many_rows_as_the_larger_size_says(shop: Shop) -> None:
    assert shop.cost("query ($n: Int) { users(first: 5, last: $n) { nodes { id } } }", n=9) == 10


def test_fragments_cost_where_they_are_spread(shop: Shop) -> None:
    fragment = (
        "fragment F on UserConnection { totalCount nodes { ...G } } fragment G on User { friend { id } }"
    )
    assert shop.cost(f"{{ users(first: 4) {{ ...F }} }} {fragment}") == 1 + 5 + 4 * 2
    assert shop.cost(f"{{ a: users(first: 1) {{ ...F }} b: users(first: 2) {{ ...F }} }} {fragment}") == (
        (1 + 5 + 2) + (1 + 5 + 2 * 2)
    )
    assert shop.cost("{ nodes(ids: []) { ... on User { friend { id } } } }") == 1
    assert shop.cost('{ nodes(ids: ["a"]) { ... on User { friend { id } } ... { id } } }') == 1 + 1 + 1


def test_fragments_that_double_are_added_up_once_each(shop: Shop) -> None:
    parts = [f"fragment F{i} on User {{ ...F{i + 1} ...F{i + 1} }}" for i in range(100)]
    text = f"{{ me {{ ...F0 }} }} {' '.join(parts)} fragment F100 on User {{ friend {{ id }} }}"
    assert shop.cost(text) == 1 + 2**100


def test_each_operation_has_its_own_cost(shop: Shop) -> None:
    text = "query A { me { id } } query B { users(first: 7) { nodes { id } } }"
    assert [shop.cost(text, name) for name in "AB"] == [1, 8]


def test_only_so_many_sums_are_remembered(shop: Shop) -> None:
    text = "query ($n: Int) { users(first: $n) { nodes { id } } }"
    assert [shop.cost(text, n=n) for n in range(101)] == list(range(1, 102))
    assert len(shop.documents.get(text).operation(None).analysis.cost._sums) <= MAX_SUMS


def test_a_cost_that_no_variable_changes_is_known_with_the_document(shop: Shop) -> None:
    sized = "query ($n: Int) { users(first: 2) { nodes { scores(top: $n) { value } } } }"
    assert shop.documents.get(sized).operation(None).analysis.cost.constant is None
    constant = "query ($n: Boolean!) { users(first: 2) { nodes { id } } nodes(ids: []) { id @skip(if: $n) } }"
    assert shop.documents.get(constant).operation(None).analysis.cost.constant == 1 + 2 + 1


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"User.repot": CostRule(1)}, "User.repot, which the schema doesn't have"),
        ({"totals": CostRule(1)}, "totals, which the schema doesn't have"),
        (
            {"User.scores": CostRule(slicing_arguments=("first",))},
            r"User.scores\(first:\), which isn't there",
        ),
    ],
)
def test_a_rule_for_what_the_schema_does_not_have_ends_the_start(
    rules: dict[str, CostRule], said: str
) -> None:
    check_rules(SCHEMA, COST_RULES)
    with pytest.raises(ValueError, match=said):
        check_rules(SCHEMA, rules)
