(function () {
  const { React, patch } = window.PluginApi;
  const names = ["MainNavBar.MenuItems", "MainNavBar.UtilityItems", "ScenePage.Tabs", "ScenePage.TabContent"];
  for (const name of names) {
    const mark = React.createElement("i", { key: "mark", hidden: true, "data-children-only": name });
    patch.before(name, ({ children }) => [{ children: [React.createElement(React.Fragment, { key: "rest" }, children), mark] }]);
  }
})();
