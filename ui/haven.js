/**
 * The script that Stash always loads: it registers the places where the plugin shows itself. It
 * asks nothing of the server; the modules below `app/` come when one of those places is used.
 */
(function () {
  "use strict";

  /** @typedef {import("./plugin-api").Shell} Shell */
  /** @typedef {import("./plugin-api").Element} Element */

  const VERSION = "2.0.0";
  const PLUGIN_ID = "ahavenvlmconnector";
  const KEY = "haven-vlm";
  const ROUTE = `/plugins/${KEY}`;
  const script = /** @type {HTMLScriptElement | null} */ (document.currentScript);
  if (!window.PluginApi || !script) return;
  const api = window.PluginApi;
  const { React } = api;
  const { Bootstrap, ReactRouterDOM } = api.libraries;
  const h = React.createElement;
  // The version is part of the path, so that a module never imports one of an older version.
  const base = new URL(`assets/${VERSION}/`, script.src);

  /** @type {Map<string, Promise<any>>} */
  const loading = new Map();
  /** @param {string} module */
  function load(module) {
    const known = loading.get(module);
    if (known) return known;
    const started = import(new URL(module, base).href);
    loading.set(module, started);
    started.catch(() => loading.delete(module));
    return started;
  }

  /** @type {readonly import("./plugin-api").TaskState[]} */
  let tasks = [];
  /** @type {Set<() => void>} */
  const listeners = new Set();
  const tell = () => listeners.forEach((listener) => listener());
  /** @type {Shell} */
  const shell = {
    api,
    pluginId: PLUGIN_ID,
    version: VERSION,
    load,
    tasks: {
      get: () => tasks,
      set(found) {
        tasks = found;
        tell();
      },
      listen(listener) {
        listeners.add(listener);
        return () => void listeners.delete(listener);
      },
    },
  };

  /** An error inside it takes down this part of the page and no more, and names the plugin. */
  class Boundary extends React.Component {
    /** @param {any} props */
    constructor(props) {
      super(props);
      this.state = { message: "" };
    }
    /** @param {unknown} error */
    static getDerivedStateFromError(error) {
      return { message: String(error instanceof Error ? error.message : error) || "unknown error" };
    }
    render() {
      const { message } = /** @type {{message: string}} */ (this.state);
      if (!message) return this.props.children ?? null;
      const again = () => this.setState({ message: "" });
      return h(
        "div",
        { className: "haven-error", role: "alert" },
        `Haven VLM Connector cannot show this part: ${message}. The rest of Stash is not affected. `,
        h("button", { type: "button", className: "btn btn-secondary btn-sm", onClick: again }, "Try again"),
      );
    }
  }

  /**
   * Show a component of a module, which is loaded at the first use.
   * @param {{module: string, [prop: string]: any}} props
   */
  function Lazy({ module, ...props }) {
    const [state, setState] = React.useState(/** @type {{View?: any, error?: Error}} */ ({}));
    React.useEffect(() => {
      let isCurrent = true;
      load(module).then(
        (loaded) => isCurrent && setState({ View: loaded.default }),
        (error) => isCurrent && setState({ error }),
      );
      return () => void (isCurrent = false);
    }, [module]);
    if (state.error) throw state.error;
    return state.View
      ? h(state.View, { shell, ...props })
      : h("div", { className: "haven-loading text-muted" }, "Loading …");
  }

  /** @param {{module: string, [prop: string]: any}} props */
  const Safe = (props) => h(Boundary, null, h(Lazy, props));

  /**
   * Return the props of a patched component: the arguments before the last one move with Stash's
   * versions and with other plugins.
   * @param {any[]} args
   */
  const first = (args) => args[0] ?? {};
  /** @param {any[]} args */
  const last = (args) => args[args.length - 1];

  /**
   * Add elements to the children of a container.
   * @param {string} name
   * @param {(props: any) => Element | null} make
   */
  function append(name, make) {
    api.patch.before(name, (...args) => {
      const props = first(args);
      const added = make(props);
      return [added ? { ...props, children: h(React.Fragment, null, props.children, added) } : props];
    });
  }

  /**
   * Open the dialogue that starts a task about the selected items, or all that the list shows.
   * @param {"scenes" | "images" | "galleries"} kind
   * @param {Iterable<string>} ids
   * @param {import("./plugin-api").ListFilter | null} [filter] null: there is no list
   */
  const start = (kind, ids, filter) =>
    load("app/start.js").then((module) => module.open(shell, { kind, ids: [...ids], filter }));

  // The scene: a tab, and an entry in the "…" menu. Other plugins hand nothing but children to the
  // parts of the page; what the page itself got is known by then.
  /** @type {import("./plugin-api").ScenePageProps} */
  let scenePage = {};
  const whole = (/** @type {any} */ props) => (props.scene ? props : scenePage);
  append("ScenePage.Tabs", (props) =>
    whole(props).scene ? h(Bootstrap.Nav.Item, { key: KEY }, h(Bootstrap.Nav.Link, { eventKey: KEY }, "VLM")) : null,
  );
  append("ScenePage.TabContent", (props) => {
    const { scene, setTimestamp } = whole(props);
    return scene
      ? h(
          Bootstrap.Tab.Pane,
          { key: KEY, eventKey: KEY, mountOnEnter: true, unmountOnExit: true },
          h(Safe, { module: "app/tab.js", key: scene.id, scene, setTimestamp }),
        )
      : null;
  });

  /**
   * Return the tree with each element that `change` takes replaced by what it returns; the same
   * tree when it takes none.
   * @param {any} node
   * @param {(element: any) => Element | null} change
   * @returns {any}
   */
  function changed(node, change) {
    if (Array.isArray(node)) {
      const parts = node.map((one) => changed(one, change));
      return parts.some((one, index) => one !== node[index]) ? parts : node;
    }
    if (!React.isValidElement(node)) return node;
    const taken = change(node);
    if (taken) return taken;
    const children = /** @type {any} */ (node.props).children;
    const parts = changed(children, change);
    if (parts === children) return node;
    return React.cloneElement(node, {}, ...(Array.isArray(parts) ? parts : [parts]));
  }
  /**
   * Return the element with one more entry in its menu, if that belongs to `operation-menu`.
   * @param {any} element
   * @param {Element} entry
   */
  function withEntry(element, entry) {
    const { children } = element.props;
    const isMenu = (/** @type {any} */ part) => part?.type === Bootstrap.Dropdown.Menu;
    const isOurs = (/** @type {any} */ part) => part?.props?.id === "operation-menu";
    if (!Array.isArray(children) || !children.some(isOurs)) return null;
    const extended = children.map((part) =>
      isMenu(part) ? React.cloneElement(part, {}, part.props.children, entry) : part,
    );
    return React.cloneElement(element, {}, ...extended);
  }
  api.patch.after("ScenePage", (...args) => {
    scenePage = first(args);
    const { scene } = scenePage;
    if (!scene) return last(args);
    const entry = h(
      Bootstrap.Dropdown.Item,
      { key: KEY, className: "bg-secondary text-white", onClick: () => start("scenes", [scene.id], null) },
      "Tag with VLM…",
    );
    return changed(last(args), (element) => withEntry(element, entry));
  });

  /**
   * A block of the page of an image or a gallery, which unfolds.
   * @param {{kind: "image" | "gallery", id: string}} props
   */
  function Block({ kind, id }) {
    const [isOpen, setOpen] = React.useState(false);
    const toggle = () => setOpen(!isOpen);
    return h(
      "div",
      { className: "haven-block" },
      h(Bootstrap.Button, { variant: "secondary", size: "sm", "aria-expanded": isOpen, onClick: toggle }, "VLM"),
      isOpen && h(Safe, { module: "app/item.js", key: id, kind, id }),
    );
  }
  api.patch.after("ImageDetailPanel", (...args) => {
    const { image } = first(args);
    const result = last(args);
    return image ? h(React.Fragment, null, result, h(Boundary, null, h(Block, { kind: "image", id: image.id }))) : result;
  });
  api.patch.after("GalleryImagesPanel", (...args) => {
    const { gallery } = first(args);
    const result = last(args);
    return gallery ? h(React.Fragment, null, h(Boundary, null, h(Block, { kind: "gallery", id: gallery.id })), result) : result;
  });

  /**
   * Return props with one more operation, once: of two patched names the inner one finds it there.
   * @param {any} props
   * @param {string} prop
   * @param {import("./plugin-api").ListOperation | null} entry
   */
  function withOperation(props, prop, entry) {
    const known = props[prop] ?? [];
    const isThere = !entry || known.some((/** @type {any} */ one) => one.text === entry.text);
    return isThere ? props : { ...props, [prop]: [...known, entry] };
  }
  /**
   * Add an entry to a list's operations.
   * @param {string} name
   * @param {string} prop
   * @param {(props: any) => import("./plugin-api").ListOperation | null} make
   */
  const operation = (name, prop, make) =>
    api.patch.before(name, (...args) => [withOperation(first(args), prop, make(first(args)))]);
  const onSelection = (/** @type {"images" | "galleries"} */ kind) => () => ({
    text: "Tag with VLM…",
    isDisplayed: () => true,
    onClick: (/** @type {any} */ _, /** @type {any} */ filter, /** @type {Set<string>} */ ids) => start(kind, ids ?? [], filter),
  });
  for (const name of ["ImageList", "FilteredImageList"]) operation(name, "extraOperations", onSelection("images"));
  for (const name of ["GalleryList", "FilteredGalleryList"]) operation(name, "extraOperations", onSelection("galleries"));
  operation("GalleryImagesPanel", "extraOperations", ({ gallery }) =>
    gallery && { text: "Tag this gallery with VLM…", isDisplayed: () => true, onClick: () => start("galleries", [gallery.id], null) },
  );

  // Selected scenes: some versions hand over the selection and the filter, others have cards only.
  /** @type {Set<string>} */
  const cards = new Set();
  /** @type {{ids: Set<string>, filter: any} | null} */
  let list = null;
  let hasOperation = false;
  let soon = 0;
  const changeCards = (/** @type {() => unknown} */ change) => {
    const before = cards.size;
    change();
    if (cards.size === before) return;
    clearTimeout(soon); // a component must not change another one while it is drawn
    soon = setTimeout(tell, 20);
  };
  api.patch.before("SceneCard", (...args) => {
    const { scene, selected } = first(args);
    if (scene) changeCards(() => (selected ? cards.add(scene.id) : cards.delete(scene.id)));
    return args;
  });
  api.patch.before("SceneList", (...args) => {
    const { selectedIds, filter } = first(args);
    if (selectedIds) list = { ids: selectedIds, filter };
    return args;
  });
  api.Event?.addEventListener("stash:location", () => {
    list = null;
    hasOperation = false;
    changeCards(() => cards.clear());
  });
  const startScenes = () => start("scenes", list?.ids ?? cards, list?.filter);
  const sceneOperation = () => {
    hasOperation = true;
    return { text: "Tag with VLM…", isDisplayed: () => true, onClick: startScenes };
  };
  operation("SceneListOperations", "operations", sceneOperation);
  api.patch.after("FilteredSceneList", (...args) =>
    changed(last(args), (element) => {
      const bar = element.props.operationComponent;
      if (!Array.isArray(bar?.props?.operations)) return null;
      const props = withOperation(bar.props, "operations", sceneOperation());
      return React.cloneElement(element, { operationComponent: React.cloneElement(bar, props) });
    }),
  );

  /** Redraw when tasks or the selection change. */
  function useNews() {
    const [, draw] = React.useReducer((/** @type {number} */ count) => count + 1, 0);
    React.useLayoutEffect(() => shell.tasks.listen(draw), []);
  }
  /** The selected scenes, in lists that have no place for an operation. */
  function Selected() {
    useNews();
    if (hasOperation || !cards.size) return null;
    const text = `Tag ${cards.size} selected with VLM…`;
    return h(Bootstrap.Button, { className: "minimal haven-selected", title: text, "aria-label": text, onClick: startScenes }, `VLM (${cards.size})`);
  }
  /** The link to the page, with a ring around it while a task runs. */
  function NavItem() {
    useNews();
    const [task] = tasks;
    const text = task ? `VLM: ${task.text}` : "VLM";
    const turn = task?.progress == null ? 25 : Math.max(5, Math.round(task.progress * 100));
    return h(
      ReactRouterDOM.Link,
      { className: "haven-nav nav-utility minimal btn btn-primary", to: ROUTE, title: text, "aria-label": text },
      h(
        "svg",
        { viewBox: "0 0 24 24", width: 22, height: 22, className: task ? "haven-ring is-running" : "haven-ring", "aria-hidden": true },
        h("circle", { cx: 12, cy: 12, r: 10, className: "haven-track" }),
        task && h("circle", { cx: 12, cy: 12, r: 10, pathLength: 100, strokeDasharray: `${turn} 100` }),
        h("path", { d: "M7 9l5 7 5-7" }),
      ),
    );
  }
  append("MainNavBar.UtilityItems", () => h(Boundary, { key: KEY }, h(Selected), h(NavItem)));

  api.patch.instead("PluginSettings", (...args) => {
    const props = first(args);
    const rest = last(args)(props);
    if (props.pluginID !== PLUGIN_ID) return rest;
    const link = h(ReactRouterDOM.Link, { to: ROUTE, className: "btn btn-secondary" }, "Open Haven VLM Connector");
    const block = h("div", { className: "haven-block haven-in-settings" }, link, h(Safe, { module: "app/block.js" }));
    return h(React.Fragment, null, block, rest);
  });

  api.register.route(ROUTE, () => h(Safe, { module: "app/page.js" }));

  // A task that was followed before the page was loaded anew is followed again.
  if (sessionStorage.getItem("haven-task")) {
    load("app/stash.js").then((module) => module.watch(shell)).catch(() => undefined);
  }
})();
