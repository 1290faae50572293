"""The page in a real browser, with a real service."""

import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, WebSocket, expect

TRADER = "trader@example.com"
OPERATOR = "operator@example.com"
PASSWORD = "demo-password"


@dataclass
class Visit:
    """A visit of the page, in a browser that has nothing stored from earlier visits."""

    page: Page
    url: str
    asked: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @classmethod
    async def begin(
        cls, browser: Browser, url: str, *, width: int = 1280, height: int = 800, dark: bool = False
    ) -> "Visit":
        """Opens the page, and waits for its editors."""
        context = await browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = await context.new_page()
        visit = cls(page, url)
        page.on("request", lambda request: visit.asked.append(request.url))
        page.on("websocket", visit._see_socket)
        page.on("console", visit._hear)
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        await visit.open()
        return visit

    async def open(self) -> None:
        await self.page.goto(self.url)
        await self.page.locator(".graphiql-query-editor .CodeMirror").wait_for()

    async def end(self) -> None:
        await self.page.context.close()

    @property
    def hosts(self) -> set[str]:
        """All hosts to which the page has sent requests."""
        return {urlsplit(url).netloc for url in self.asked}

    @property
    def response(self) -> Locator:
        return self.page.locator(".result-window .CodeMirror-code")

    @property
    def who(self) -> Locator:
        """The user that the page shows at the top right."""
        return self.page.locator(".who")

    @property
    def panel(self) -> Locator:
        return self.page.locator(".graphiql-plugin")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def sign_in(self, email: str) -> None:
        """Signs in with the button of a demo login."""
        await self.panel.get_by_role("button", name=email).click()
        await expect(self.who).to_have_text(email)

    async def tokens(self) -> dict[str, str]:
        """The tokens that the page has stored."""
        session = json.loads(await self.page.evaluate("sessionStorage.getItem('graphql-api:session')"))
        tokens: dict[str, str] = session["state"]["tokens"]
        return tokens

    async def keep(self, tokens: dict[str, str]) -> None:
        """Stores other tokens, which the page reads when it is opened again."""
        await self.page.evaluate(
            """tokens => {
                const session = JSON.parse(sessionStorage.getItem('graphql-api:session'));
                session.state.tokens = tokens;
                sessionStorage.setItem('graphql-api:session', JSON.stringify(session));
            }""",
            tokens,
        )

    async def choose_tab(self, name: str) -> None:
        """Clicks until the tab is selected, since GraphiQL ignores clicks while it moves its tabs."""
        tab = self.page.locator(".graphiql-tab-button", has_text=name)
        while await tab.get_attribute("aria-current") != "true":
            await tab.click()
            await self.page.wait_for_timeout(100)

    async def run(self) -> None:
        await self.button("Execute query (Ctrl-Enter)").click()

    async def write(self, editor: str, text: str) -> None:
        """Replaces the text of an editor: Query, Variables or Headers."""
        name = "Query Editor" if editor == "Query" else editor
        await self.page.get_by_role("region", name=name).locator(".CodeMirror:visible").click()
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.insert_text(text)

    def _see_socket(self, socket: WebSocket) -> None:
        self.asked.append(socket.url)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
