/** The part of Stash's plugin API that these scripts use. Names that some versions lack are optional. */
import type * as ReactModule from "react";

export type Node = ReactModule.ReactNode;
export type Element = ReactModule.ReactElement<any>;
export type Part = ReactModule.ComponentType<any> & { [name: string]: any };

export interface Paths {
  vtt?: string | null;
  sprite?: string | null;
}
export interface Scene {
  id: string;
  paths?: Paths;
}
export interface ScenePageProps {
  scene?: Scene;
  setTimestamp?: (seconds: number) => void;
  children?: Node;
}
export interface Sprite {
  url: string;
  start: number;
  end: number;
  x: number;
  y: number;
  w: number;
  h: number;
}
export interface Player {
  currentTime(): number;
  currentTime(seconds: number): void;
  play(): unknown;
}
export interface ListOperation {
  text: string;
  onClick: (...args: any[]) => unknown;
  isDisplayed?: (...args: any[]) => boolean;
  className?: string;
}
/** The filter of one of Stash's lists. */
export interface ListFilter {
  makeFindFilter?: () => { q?: string | null };
  makeFilter?: () => object;
}
export interface Client {
  query(options: object): Promise<{ data: any }>;
  mutate(options: object): Promise<{ data: any }>;
  refetchQueries(options: { include: string[] }): unknown;
  getObservableQueries?(): Map<string, { queryName?: string; variables?: any }>;
}
export interface PluginApi {
  React: typeof ReactModule;
  ReactDOM: { render(element: Element, where: globalThis.Element): void; unmountComponentAtNode(where: globalThis.Element): boolean };
  libraries: {
    ReactRouterDOM: { Link: Part; NavLink: Part; Switch: Part; Route: Part };
    Bootstrap: { [name: string]: Part };
    Apollo: { gql(text: TemplateStringsArray): unknown };
  };
  Event?: EventTarget;
  register: { route(path: string, component: ReactModule.ComponentType<any>): void };
  patch: {
    before(name: string, fn: (...args: any[]) => any[]): void;
    instead(name: string, fn: (...args: any[]) => Node): void;
    after(name: string, fn: (...args: any[]) => Node): void;
  };
  hooks: { useSpriteInfo?: (vtt: string | undefined) => Sprite[] | null | undefined };
  utils: {
    StashService: { getClient(): Client };
    InteractiveUtils?: { getPlayer?: () => Player | undefined };
  };
}

/** What the script that is always loaded hands to the modules that it loads. */
export interface Shell {
  api: PluginApi;
  pluginId: string;
  version: string;
  /** Load a module of `ui/`, for example "app/start.js". */
  load: (module: string) => Promise<any>;
  /** The plugin's tasks that run or wait in Stash, in their order; the ring shows the first. */
  tasks: { get: () => readonly TaskState[]; set: (tasks: readonly TaskState[]) => void; listen: (fn: () => void) => () => void };
}
/** A task. `progress` is null while it waits. */
export interface TaskState {
  id: string;
  text: string;
  progress: number | null;
}

declare global {
  interface Window {
    PluginApi?: PluginApi;
  }
}
