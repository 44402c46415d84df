"""Every page in a real Chromium: narrow and wide, light and dark, by keyboard, without JavaScript."""

import re

import pytest

LONG = "customer_lifetime_value_by_acquisition_channel_and_first_touch"
PAGES = {
    "overview": "/",
    "products": "/products",
    "hits": "/products?q=orders",
    "no hits": "/products?q=ordres",
    "product at risk": "/products/marketing/campaign_revenue",
    "product late": "/products/marketing/campaigns",
    "product with personal data": "/products/sales/users",
    "product not measured": "/products/reference/planes",
    "long names, 300 readers": f"/products/calendar/{LONG}",
    "lineage": "/lineage",
    "lineage focus": "/lineage?focus=marketing.campaign_revenue",
    "lineage column and diff": "/lineage?focus=sales.orders&column=total&diff=2026-01-01",
    "lineage 300 readers": f"/lineage?focus=calendar.{LONG}",
    "trust": "/trust",
    "access": "/access",
    "crawl": "/crawl",
    "keys": "/keys",
    "not found": "/products/hr/salaries",
    "past": "/trust?at=2026-01-01T00:00:00Z",
}
VIEWS = [(1440, "light", True), (390, "dark", True), (1440, "dark", False), (390, "light", False)]
SPILL = """[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1
  && !e.closest(".scroll,.graph,.time,pre,.nav,.sr,.skip,svg")).slice(0, 5).map(e => e.tagName + "." + e.className + ": " + e.textContent.slice(0, 60))"""


@pytest.fixture
def watch(browser, serve):
    """`watch("jane", width=390)`: a page of that reader that collects what must not happen."""
    contexts = []

    def make(name, *, width=1440, theme="light", javascript=True):
        base = serve(name)
        context = browser.new_context(
            base_url=base, viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=javascript
        )
        contexts.append(context)
        page = context.new_page()
        page.wrong = []
        page.on(
            "console",
            lambda m: (
                page.wrong.append(f"console {m.type}: {m.text}")
                if m.type in {"error", "warning"} and "404" not in m.text
                else None
            ),
        )
        page.on("pageerror", lambda e: page.wrong.append(f"error: {e}"))
        page.on(
            "request",
            lambda r: None if r.url.startswith((base, "data:")) else page.wrong.append(f"foreign request: {r.url}"),
        )
        return page

    yield make
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_at_every_width_and_theme(watch, axe, name):
    """No console error, no foreign request, nothing wider than the window, no violation of an accessibility rule."""
    found = []
    page = watch("jane")
    page.goto(PAGES[name])
    page.evaluate(axe)
    for width, theme, with_axe in VIEWS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        where = f"{width} px, {theme}"
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{where}: wider than the window: {page.evaluate(SPILL)}")
        if with_axe:
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            found += [
                f"{where}: {v['id']}: {v['nodes'][0]['html'][:200]} {v['nodes'][0]['failureSummary'][:200]}"
                for v in result["violations"]
            ]
    assert found + page.wrong == []


def test_tab_goes_through_the_page_in_reading_order(watch):
    """Skip link, brand, navigation, search, then the page; every stop is visible."""
    page = watch("jane")
    page.goto("/lineage?focus=marketing.campaign_revenue")
    stops = []
    for _ in range(45):
        page.keyboard.press("Tab")
        stops.append(
            page.evaluate(
                "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent || document.activeElement.name || '').trim().slice(0, 60)"
            )
        )
        # the parts of a date field show the focus themselves
        assert page.evaluate(
            "document.activeElement.type === 'date' || getComputedStyle(document.activeElement).outlineStyle !== 'none'"
        ), stops[-1]
    assert stops[0] == "Skip to content"
    assert stops[1] == "acme mesh"
    assert [re.sub(r"\W.*", "", s) for s in stops[2:8]] == [
        "Overview",
        "Products",
        "Lineage",
        "Trust",
        "Access",
        "Crawl",
    ]
    nodes = [s for s in stops if ", focus" in s or ", healthy" in s or ", breaching" in s or ", consumer" in s]
    focus = next(i for i, s in enumerate(nodes) if ", focus" in s)
    assert any("campaigns" in s for s in nodes[:focus])
    assert any("consumer" in s for s in nodes[focus + 1 :])


def test_the_skip_link_goes_to_the_main_part(watch):
    """One key past the navigation."""
    page = watch("jane")
    page.goto("/trust")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.url.endswith("/trust#main")


def test_slash_goes_to_the_search_box_but_not_while_typing(watch):
    """And Escape leaves it."""
    page = watch("jane")
    page.goto("/trust")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("a/b")
    assert page.input_value("#q") == "a/b"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") != "q"
    assert page.wrong == []


def test_copy_puts_the_statement_on_the_clipboard(watch):
    """What stands in the box, nothing else."""
    page = watch("jane")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/products/sales/orders")
    page.get_by_role("button", name="Copy SQL").click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("SELECT order_id")


@pytest.mark.parametrize("javascript", [True, False])
def test_access_is_asked_for_and_approved_in_the_browser(watch, portal, javascript):
    """The whole journey, also without JavaScript."""
    product = "operations.delays" if javascript else "weather.observations"
    domain, name = product.split(".")
    asker, decider = watch("newcomer", javascript=javascript), watch("admin", javascript=javascript)
    asker.goto(f"/products/{domain}/{name}")
    asker.locator("summary", has_text="Request access").click()
    form = asker.get_by_role("form", name="Request access")
    purpose = f"planning: {name}"
    form.locator("[name=purpose]").fill(purpose)
    form.locator("[name=duration]").select_option("30d")
    form.locator("[name=columns]").fill("")
    form.get_by_role("button").click()
    assert asker.url.endswith("/access")
    asker.get_by_text(purpose).wait_for()
    assert asker.get_by_role("button", name="Approve").count() == 0
    decider.goto("/access")
    waiting = next(r for r in portal.catalog.desk.requests() if r.product == product)
    row = decider.get_by_role("form", name=f"Decide on {waiting.id}", include_hidden=True)
    if not row.is_visible():
        decider.locator("summary", has_text=product).click()
    row.get_by_role("button", name="Approve").click()
    assert decider.url.endswith("/access")
    asker.reload()
    assert "active" in asker.locator(f"[id='{waiting.id}']").inner_text()
    assert portal.catalog.desk.grants_for(
        portal.principal("newcomer"), product, at=waiting.at.__class__.now(waiting.at.tzinfo)
    )
    assert asker.wrong + decider.wrong == []


def test_reading_works_without_javascript(watch):
    """Search, open a hit, follow the graph."""
    page = watch("jane", javascript=False)
    page.goto("/")
    page.fill("#ask", "orders")
    page.get_by_role("button", name="Search").click()
    assert page.get_by_role("heading", level=1).inner_text().endswith("match “orders”")
    page.get_by_role("link", name="sales.orders").first.click()
    assert page.url.endswith("/products/sales/orders")
    page.get_by_role("link", name=re.compile("marketing campaign_revenue")).first.click()
    assert page.url.endswith("/products/marketing/campaign_revenue")


def test_text_may_be_four_times_as_large(watch):
    """400 % zoom of 1280 px is 320 px."""
    page = watch("jane", width=320)
    for url in ("/", "/products?q=orders", "/products/sales/users", "/lineage?focus=sales.orders", "/trust", "/access"):
        page.goto(url)
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), (url, page.evaluate(SPILL))
