/**
 * A page with the parts of Stash that the plugin patches, and PluginApi with its true semantics.
 * Options in the address: `others` adds another plugin's patches, `names=0.28` (0.30, 0.31) has the
 * patchable names of that version only, `strip` is a plugin that takes all props but the children
 * away.
 */
(function () {
  "use strict";
  const { React, ReactDOM, ReactBootstrap, ReactRouterDOM } = window;
  const h = React.createElement;
  const { Dropdown, Nav, Tab } = ReactBootstrap;
  const { BrowserRouter, Link, Route, Switch, useLocation, useParams } = ReactRouterDOM;
  const options = new URLSearchParams(location.search);
  const NAMES_028 = ["PluginRoutes", "MainNavBar.UtilityItems", "PluginSettings", "ImageDetailPanel", "SceneCard", "ScenePage", "ScenePage.Tabs", "ScenePage.TabContent"];
  const LACKING = { "0.30": ["SceneList", "FilteredSceneList", "FilteredImageList"], "0.31": ["SceneListOperations", "ImageList"] };
  const names = options.get("names");
  const isKnown = (name) => (names === "0.28" ? NAMES_028.includes(name) : !LACKING[names]?.includes(name));

  const patches = { before: {}, instead: {}, after: {} };
  const add = (kind) => (name, fn) => (patches[kind][name] ??= []).push(fn);

  /** Return a component as Stash patches it: looked up when called, arguments replaced by `before`. */
  function patched(name, component) {
    return function Patched(...args) {
      if (!isKnown(name)) return component(...args);
      for (const fn of patches.before[name] ?? []) args = Array.from(fn(...args) ?? []);
      const chain = [...(patches.instead[name] ?? [])];
      const next = (...inner) => {
        const fn = chain.shift();
        return fn ? fn(...inner, next) : component(...inner);
      };
      let result = next(...args);
      for (const fn of patches.after[name] ?? []) result = fn(...args.concat(result));
      return result ?? null;
    };
  }
  const container = (name) => patched(name, ({ children } = {}) => h(React.Fragment, null, children));

  const player = {
    time: 0,
    calls: [],
    currentTime(seconds) {
      if (seconds === undefined) return player.time;
      player.calls.push(`seek ${seconds}`);
      player.time = seconds;
      return undefined;
    },
    play: () => player.calls.push("play"),
  };
  const pressed = [];
  const refetched = [];
  const queries = new Map();
  window.harness = { player, pressed, refetched };
  document.addEventListener("keydown", (event) => pressed.push(event.key));

  async function send(query, variables, signal) {
    const body = JSON.stringify({ query, variables });
    const response = await fetch("graphql", { method: "POST", body, signal });
    const { data, errors } = await response.json();
    if (errors) throw new Error(errors[0].message);
    return { data };
  }
  const client = {
    query: ({ query, variables }) => send(query, variables),
    mutate: ({ mutation, variables, context }) => send(mutation, variables, context?.fetchOptions?.signal),
    refetchQueries: ({ include }) => refetched.push(...include),
    getObservableQueries: () => queries,
  };
  const events = new EventTarget();
  const SPRITE = `data:image/svg+xml,${encodeURIComponent('<svg xmlns="http://www.w3.org/2000/svg" width="320" height="90"><rect width="320" height="90" fill="teal"/></svg>')}`;
  const routes = [];
  window.PluginApi = {
    React,
    ReactDOM,
    Event: events,
    libraries: { ReactRouterDOM, Bootstrap: ReactBootstrap, Apollo: { gql: (text) => text.join("") } },
    register: { route: (path, component) => routes.push(h(Route, { key: path, path, component })) },
    patch: { before: add("before"), instead: add("instead"), after: add("after") },
    hooks: { useSpriteInfo: (vtt) => (vtt ? [{ url: SPRITE, start: 0, end: 4000, x: 0, y: 0, w: 160, h: 90 }] : null) },
    utils: {
      StashService: { getClient: () => client },
      ...(isKnown("InteractiveUtils") ? { InteractiveUtils: { getPlayer: () => player } } : {}),
    },
  };

  const Tabs = container("ScenePage.Tabs");
  const TabContent = container("ScenePage.TabContent");
  const scenePage = patched("ScenePage", (props) =>
    h(
      "div",
      { className: "row" },
      h(
        "div",
        { className: "scene-tabs", style: { flex: "none", padding: "0 15px", width: "min(450px, 100%)" } },
        h(
          "div",
          { className: "scene-toolbar" },
          h("span", null, `Scene ${props.scene.id}`),
          h(
            Dropdown,
            null,
            h(Dropdown.Toggle, { variant: "secondary", id: "operation-menu" }, "…"),
            h(Dropdown.Menu, { className: "bg-secondary text-white" }, h(Dropdown.Item, { key: "rescan" }, "Rescan"), false),
          ),
        ),
        h(
          Tab.Container,
          { id: "scene-tabs", defaultActiveKey: "details" },
          h(Nav, { variant: "tabs" }, h(Tabs, props, h(Nav.Item, null, h(Nav.Link, { eventKey: "details" }, "Details")))),
          h(Tab.Content, null, h(TabContent, props, h(Tab.Pane, { eventKey: "details" }, "Stash's details"))),
        ),
      ),
      h("div", { id: "VideoJsPlayer", ref: (element) => element && (element.player = player) }, "the player"),
    ),
  );
  const setTimestamp = (seconds) => player.currentTime(seconds);
  const ScenePage = () => {
    const { id } = useParams();
    return h(scenePage, { scene: { id, paths: { vtt: "vtt" } }, setTimestamp });
  };

  const ImageDetailPanel = patched("ImageDetailPanel", ({ image } = {}) => h("p", null, `Stash's image ${image?.id}`));
  const ImagePage = () => h(ImageDetailPanel, { image: { id: useParams().id } });

  const list = (name) =>
    patched(name, ({ extraOperations = [], ids } = {}) => {
      const entries = extraOperations.filter((one) => !one.isDisplayed || one.isDisplayed({}, listFilter, new Set(ids)));
      return h("div", null, entries.map((one) => h("button", { key: one.text, onClick: () => one.onClick({}, listFilter, new Set(ids)) }, one.text)));
    });
  const listFilter = { makeFindFilter: () => ({ q: "final", page: 1, per_page: 40 }), makeFilter: () => ({ organized: true }) };
  const InnerImageList = list("ImageList");
  const ImageList = patched("FilteredImageList", (props) => h(InnerImageList, props));
  const Images = () => h(ImageList, { ids: Array.from({ length: Number(options.get("selected") ?? 0) }, (_, index) => String(index + 1)) });
  const GalleryImagesPanel = patched("GalleryImagesPanel", ({ gallery, extraOperations } = {}) =>
    h("div", null, `Stash's gallery ${gallery?.id}`, h(ImageList, { ids: ["7", "8"], extraOperations })),
  );
  const GalleryPage = () => h(GalleryImagesPanel, { active: true, gallery: { id: useParams().id } });

  const SceneCard = patched("SceneCard", ({ scene, selected, onSelectedChanged } = {}) =>
    h("p", null, h("button", { onClick: () => onSelectedChanged(!selected) }, `Card ${scene?.id} ${selected}`)),
  );
  const SceneListOperations = patched("SceneListOperations", ({ operations = [] } = {}) =>
    h("div", null, operations.filter((one) => one.isDisplayed()).map((one) => h("button", { key: one.text, onClick: one.onClick }, one.text))),
  );
  const Toolbar = ({ operationComponent }) => operationComponent;
  const SceneList = patched("SceneList", ({ selectedIds, onSelectChange }) =>
    h(
      "div",
      null,
      ["12", "13"].map((id) => h(SceneCard, { key: id, scene: { id }, selected: selectedIds.has(id), onSelectedChanged: (selected) => onSelectChange(id, selected) })),
    ),
  );
  const sceneFilter = { makeFindFilter: () => ({ q: "", per_page: 40 }), makeFilter: () => ({ has_markers: "false" }) };
  const filteredSceneList = patched("FilteredSceneList", ({ selectedIds, onSelectChange }) => {
    const operations = [{ text: "Play", onClick: () => {}, isDisplayed: () => true }];
    const bar = h(SceneListOperations, { hasSelection: selectedIds.size > 0, operations });
    return h("div", null, false, h("section", null, h(Toolbar, { listSelect: { selectedIds }, operationComponent: bar }), h(SceneList, { filter: sceneFilter, selectedIds, onSelectChange })));
  });
  function Scenes() {
    const [selectedIds, setIds] = React.useState(new Set(["12"]));
    React.useEffect(() => {
      queries.set("1", { queryName: "FindScenes", variables: { filter: sceneFilter.makeFindFilter(), scene_filter: sceneFilter.makeFilter() } });
      return () => void queries.delete("1");
    }, []);
    const onSelectChange = (id, isSelected) => setIds(new Set([...selectedIds].filter((one) => one !== id).concat(isSelected ? [id] : [])));
    return h(filteredSceneList, { selectedIds, onSelectChange });
  }

  const PluginSettings = patched("PluginSettings", ({ pluginID } = {}) => h("p", null, `Stash's settings of ${pluginID}`));
  const Settings = () => h("div", null, h(PluginSettings, { pluginID: "other" }), h(PluginSettings, { pluginID: "ahavenvlmconnector" }));

  const UtilityItems = container("MainNavBar.UtilityItems");
  const navbar = () => h("nav", { className: "d-flex" }, h(UtilityItems, null, h("span", null, "?")), h(UtilityItems, null, h("span", null, "?")), h(Link, { to: "/" }, "home"));
  const PluginRoutes = patched("PluginRoutes", () => h(React.Fragment, null, routes));
  function Locations() {
    const place = useLocation();
    React.useEffect(() => void events.dispatchEvent(new CustomEvent("stash:location", { detail: { data: { location: place } } })), [place]);
    return null;
  }
  function App() {
    return h(
      BrowserRouter,
      { basename: new URL(document.baseURI).pathname.replace(/\/$/, "") },
      h(Locations),
      navbar(),
      h(
        "div",
        { className: "main container-fluid" },
        h(
          Switch,
          null,
          h(Route, { path: "/scenes/:id", component: ScenePage }),
          h(Route, { path: "/scenes", component: Scenes }),
          h(Route, { path: "/images/:id", component: ImagePage }),
          h(Route, { path: "/images", component: Images }),
          h(Route, { path: "/galleries/:id", component: GalleryPage }),
          h(Route, { path: "/settings", component: Settings }),
          h(Route, { path: "/plugins", component: PluginRoutes }),
        ),
      ),
    );
  }

  const { patch } = window.PluginApi;
  if (options.has("others")) {
    for (const name of ["ScenePage", "ScenePage.Tabs", "ScenePage.TabContent", "MainNavBar.UtilityItems", "ImageDetailPanel", "PluginSettings", "SceneCard", "SceneList", "FilteredSceneList", "SceneListOperations", "ImageList"]) {
      patch.before(name, (props) => [props]);
      patch.after(name, (...args) => args[args.length - 1]);
    }
    patch.before("ScenePage.Tabs", (props) => [{ ...props, children: h(React.Fragment, null, props.children, h(Nav.Item, { key: "other" }, h(Nav.Link, { eventKey: "other" }, "Other"))) }]);
    patch.instead("PluginSettings", (...args) => args[args.length - 1](args[0]));
  }
  if (options.has("strip")) {
    for (const name of ["ScenePage.Tabs", "ScenePage.TabContent"]) patch.before(name, ({ children }) => [{ children }]);
  }

  // Stash shows its pages when every plugin's script has loaded or failed.
  const script = document.createElement("script");
  script.src = "plugin/ahavenvlmconnector/javascript";
  script.async = false;
  script.onload = script.onerror = () => ReactDOM.render(h(App), document.getElementById("root"));
  document.head.appendChild(script);
})();
