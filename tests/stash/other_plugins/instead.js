(function () {
  const { React, patch } = window.PluginApi;
  const names = [
    "FilteredGalleryList", "FilteredImageList", "FilteredSceneList", "GalleryImagesPanel", "GalleryList", "ImageDetailPanel", "ImageList",
    "MainNavBar.UtilityItems", "PluginSettings", "SceneCard", "SceneList", "SceneListOperations", "ScenePage", "ScenePage.TabContent", "ScenePage.Tabs",
  ];
  for (const name of names) {
    patch.before(name, (props) => [props]);
    patch.instead(name, (...args) => {
      const mark = React.createElement("i", { key: "mark", hidden: true, "data-instead": name });
      const rest = args[args.length - 1](...args.slice(0, -1));
      return React.createElement(React.Fragment, null, mark, rest);
    });
    patch.after(name, (...args) => args[args.length - 1]);
  }
})();
