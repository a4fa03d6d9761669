"""Whatever replaces whatever: two datasets end as a plain model says, or they stay as they were."""

from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenant_ops.loading import Mode, execute_load
from tenant_ops.platform.errors import InputError
from tenant_ops_tests.loading.shop import Shop
from tenant_ops_tests.loading.test_numbers import assert_numbers_add_up

CustomerRow = tuple[str, str, str, str]
OrderRow = tuple[str, str, str]
Customers = dict[int, tuple[str | None, str, int | None]]
Orders = dict[tuple[int, int], int]

EMAILS = st.sampled_from(["", "", "a@b.c", "d@e.f"])
NAMES = st.sampled_from(["Ann", "Ben"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[Customers, Orders]:
    """What is there before."""
    ids = draw(st.sets(st.integers(1, 4)))
    customers: Customers = {}
    for key in ids:
        email = draw(EMAILS) or None
        if email in {row[0] for row in customers.values()}:
            email = None
        customers[key] = (email, draw(NAMES), draw(st.none() | st.sampled_from(sorted(ids))))
    keys = draw(st.sets(st.tuples(st.sampled_from(sorted(ids)), st.integers(1, 2)))) if ids else set()
    return customers, {key: draw(st.integers(1, 3)) for key in keys}


CUSTOMER_ROWS: st.SearchStrategy[list[CustomerRow]] = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "4", "1", "2", "3", "4", "5", "x"]),
        EMAILS,
        st.sampled_from(["Ann", "Ben", "Ann", "Ben", "much longer than twenty"]),
        st.sampled_from(["", "", "1", "2", "3", "9"]),
    ),
    max_size=6,
)
ORDER_ROWS: st.SearchStrategy[list[OrderRow]] = st.lists(
    st.tuples(
        st.sampled_from(["1", "2", "3", "4", "5", "x"]),
        st.sampled_from(["1", "2"]),
        st.sampled_from(["1", "2", "3", "5000"]),
    ),
    max_size=6,
)


class Refused(Exception):
    """The model would not go on."""


@dataclass
class Model:
    """What two full loads should do, row by row and without SQL."""

    customers: Customers
    orders: Orders

    def replace_customers(self, rows: list[CustomerRow], *, force: bool) -> int:
        known = {int(row[0]) for row in rows if row[0] != "x"}
        leaving = set(self.customers) - known
        good = self._good_customers([row for row in rows if row[0] != "x" and len(row[2]) <= 20], leaving)
        kept = {key: row for key, row in self.customers.items() if key in known - set(good)}
        unread = any(row[0] == "x" for row in rows)
        held = any(referred_by in leaving for _, _, referred_by in kept.values())
        if leaving and ((not good and not force) or unread or held):
            raise Refused
        self.customers = kept | good
        self.orders = {key: total for key, total in self.orders.items() if key[0] not in leaving}
        return len(leaving)

    def _good_customers(self, rows: list[CustomerRow], leaving: set[int]) -> Customers:
        good: list[CustomerRow] = []
        for row in rows:
            if row[0] not in {other[0] for other in good}:
                good.append(row)
        unique: list[CustomerRow] = []
        for row in good:
            if not row[1] or row[1] not in {other[1] for other in unique}:
                unique.append(row)
        taken = {
            email: str(key) for key, (email, _, _) in self.customers.items() if email and key not in leaving
        }
        good = [row for row in unique if taken.get(row[1], row[0]) == row[0]]
        there = {str(key) for key in self.customers if key not in leaving}
        while True:
            targets = {"", *there, *(row[0] for row in good)}
            fitting = [row for row in good if row[3] in targets]
            if len(fitting) == len(good):
                break
            good = fitting
        return {int(key): (email or None, name, int(by) if by else None) for key, email, name, by in good}

    def replace_orders(self, rows: list[OrderRow], *, force: bool) -> int:
        keys = [(int(row[0]), int(row[1])) for row in rows if row[0] != "x"]
        leaving = set(self.orders) - set(keys)
        good: Orders = {}
        for customer, number, total in rows:
            if customer != "x" and int(total) <= 1000 and int(customer) in self.customers:
                good.setdefault((int(customer), int(number)), int(total))
        unread = any(row[0] == "x" for row in rows)
        if leaving and ((not good and not force) or unread):
            raise Refused
        self.orders = {key: total for key, total in self.orders.items() if key not in leaving} | good
        return len(leaving)


def fill(shop: Shop, customers: Customers, orders: Orders) -> None:
    with shop.fleet.session(shop.tenant) as connection:
        connection.execute("TRUNCATE customers, orders")
        stages = shop.tenant.stage_schema
        connection.execute(f"TRUNCATE {stages}.quarantine, {stages}.load".encode())
        for key, (email, name, _) in customers.items():
            connection.execute(
                "INSERT INTO customers (id, email, name) VALUES (%s, %s, %s)", (key, email, name)
            )
        for key, (_, _, by) in customers.items():
            connection.execute("UPDATE customers SET referred_by = %s WHERE id = %s", (by, key))
        for (customer, number), total in orders.items():
            connection.execute(
                "INSERT INTO orders (customer_id, number, total) VALUES (%s, %s, %s)",
                (customer, number, total),
            )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), CUSTOMER_ROWS, ORDER_ROWS, st.booleans())
def test_contents_are_replaced_as_the_model_says(
    shop: Shop,
    before: tuple[Customers, Orders],
    customers: list[CustomerRow],
    orders: list[OrderRow],
    force: bool,
) -> None:
    fill(shop, *before)
    shop.csv("customers.csv", customers, ("id", "email", "name", "referred_by"))
    shop.csv("Orders.csv", orders, ("Customer", "No.", "Total amount"))
    model = Model(*before)
    deleted: int | None = None
    try:
        deleted = model.replace_customers(customers, force=force)
        deleted += model.replace_orders(orders, force=force)
    except Refused:
        deleted = None
    try:
        plan = shop.plan(mode=Mode.FULL, force=force)
        report = execute_load(shop.fleet, plan, safety_copy=lambda _: "a copy")
    except InputError:
        assert deleted is None
    else:
        assert_numbers_add_up(report)
        assert sum(load.merge.deleted for load in report.datasets) == deleted
    live = shop.rows("customers", "id email name referred_by")
    assert {row[0]: row[1:] for row in live} == model.customers
    assert {row[:2]: row[2] for row in shop.rows("orders", "customer_id number total")} == model.orders
