// Words of the page: English, Chinese.
import { html } from "./vendor/preact.js";

const WORDS = {
  overview: ["Overview", "概览"],
  logs: ["Logs", "日志"],
  events: ["Events", "事件"],
  settings: ["Settings", "设置"],
  alerts: ["Alerts", "告警"],
  nothingFires: ["Nothing fires", "当前没有告警"],
  noChannels: ["Nobody is told of anything yet", "尚未设置任何通知渠道"],
  noChannelsHint: ["Set up a channel in a terminal, and the usual rules are on:", "在终端中设置一个渠道，默认规则即会启用："],
  pending: ["not yet told", "尚未通知"],
  silenced: ["silenced", "已静默"],
  flapping: ["comes and goes", "反复出现"],
  firing: ["firing", "触发"],
  resolved: ["over", "已恢复"],
  silence: ["Silence", "静默"],
  silence1h: ["Silence for 1 h", "静默 1 小时"],
  silences: ["Silences", "静默规则"],
  noSilences: ["Everything is told.", "没有静默规则。"],
  silenceApp: ["App, or * in a pattern; empty = all", "应用名称，可用 *；留空表示全部"],
  reason: ["Reason", "原因"],
  duration: ["Duration", "时长"],
  until: ["until", "直到"],
  everything: ["Everything", "全部"],
  endSilence: ["End", "结束"],
  channels: ["Channels", "通知渠道"],
  waiting: ["waiting", "条等待发送"],
  test: ["Test", "测试"],
  testSent: ["sent", "已发送"],
  remove: ["Remove", "移除"],
  removeChannel: ["Remove channel", "移除渠道"],
  alertHistory: ["History", "历史"],
  noAlertHistory: ["Nothing has been an alert as far as is known.", "目前没有告警记录。"],
  skip: ["Skip to content", "跳到正文"],
  loading: ["Loading…", "加载中…"],
  live: ["Live", "实时"],
  reconnecting: ["Reconnecting…", "正在重新连接…"],
  daemonAway: ["The daemon does not answer. Apps that run go on; this page shows them again as soon as it is back.", "守护进程没有响应。正在运行的应用不受影响，恢复后会自动显示。"],
  apps: ["Apps", "应用"],
  modules: ["Modules", "模块"],
  online: ["online", "运行中"],
  stopped: ["stopped", "已停止"],
  errored: ["errored", "已放弃"],
  launching: ["launching", "启动中"],
  stopping: ["stopping", "停止中"],
  waitingRestart: ["waiting restart", "等待重启"],
  healthy: ["healthy", "健康"],
  unhealthy: ["unhealthy", "不健康"],
  unready: ["unready", "未就绪"],
  starting: ["starting", "检查中"],
  needsAttention: ["Needs attention", "需要关注"],
  whyErrored: ["was given up after it failed too often", "多次失败后已放弃重启"],
  whyUnhealthy: ["does not pass its health check", "未通过健康检查"],
  whyRestarting: ["failed and is started again", "失败后正在重新启动"],
  whyLaunching: ["is being started", "正在启动"],
  noApps: ["Nothing runs here yet", "这里还没有应用"],
  noAppsHint: ["Start the first one in a terminal:", "在终端中启动第一个应用："],
  noMatch: ["No app matches this filter.", "没有符合条件的应用。"],
  filterApps: ["Filter apps", "筛选应用"],
  all: ["All", "全部"],
  problems: ["Problems", "异常"],
  name: ["Name", "名称"],
  state: ["State", "状态"],
  health: ["Health", "健康"],
  restarts: ["Restarts", "重启次数"],
  cpu: ["CPU", "CPU"],
  memory: ["Memory", "内存"],
  uptime: ["Uptime", "运行时长"],
  instances: ["Instances", "实例"],
  instance: ["Instance", "实例"],
  actions: ["Actions", "操作"],
  load: ["Load", "负载"],
  disk: ["Disk", "磁盘"],
  cores: ["{n} cores", "{n} 核"],
  ofTotal: ["of {total}", "共 {total}"],
  start: ["Start", "启动"],
  stop: ["Stop", "停止"],
  restart: ["Restart", "重启"],
  reload: ["Reload", "平滑重载"],
  delete: ["Delete", "删除"],
  reset: ["Reset counters", "计数清零"],
  flush: ["Empty logs", "清空日志"],
  scale: ["Scale", "扩缩容"],
  undo: ["Previous release", "回到上一版本"],
  cancel: ["Cancel", "取消"],
  close: ["Close", "关闭"],
  confirmStop: ["Stop {name}? Requests to it fail until it is started again.", "停止 {name}？在重新启动之前，发给它的请求会失败。"],
  confirmRestart: ["Restart {name}? Requests under way are lost; “Reload” loses none.", "重启 {name}？正在处理的请求会丢失；“平滑重载”不会丢失请求。"],
  confirmDelete: ["Delete {name}? It is stopped and taken out of the list. Its log files stay.", "删除 {name}？它会被停止并从列表移除，日志文件保留。"],
  confirmFlush: ["Empty the logs of {name}? The lines are gone for good.", "清空 {name} 的日志？内容无法恢复。"],
  confirmUndo: ["Put the previous release of {name} in place of the present one?", "将 {name} 恢复到上一版本？"],
  howMany: ["How many instances from now on?", "调整为多少个实例？"],
  done: ["{what}: {name} – done", "{what}：{name} – 已完成"],
  failed: ["{what}: {name} – {why}", "{what}：{name} – {why}"],
  working: ["{what}: {name} …", "{what}：{name} …"],
  noSuchApp: ["There is no app of this name any more.", "已没有该名称的应用。"],
  back: ["Back", "返回"],
  charts: ["Charts", "图表"],
  range: ["Time range", "时间范围"],
  zoomHint: ["drag over a chart to look closer", "在图表上拖动可放大"],
  zoomOut: ["Back to now", "回到当前"],
  noFigures: ["No figures of this time. They are kept from the moment the dashboard is switched on.", "该时段没有数据。启用仪表盘后才开始记录。"],
  requests: ["Requests/s", "请求/秒"],
  p95: ["Latency p95", "延迟 p95"],
  errorShare: ["Error share", "错误比例"],
  loop: ["Event loop delay", "事件循环延迟"],
  exits: ["Exits", "退出记录"],
  noExits: ["It has not ended since it was added.", "自添加以来没有退出过。"],
  lastWords: ["Last words", "最后输出"],
  config: ["Configuration", "配置"],
  variables: ["Variables (names only)", "环境变量（仅名称）"],
  metrics: ["Metrics", "指标"],
  noMetrics: ["It reports no figures of its own.", "该应用没有上报自定义指标。"],
  requestRate: ["Requests", "请求"],
  failedShare: ["5xx", "5xx"],
  loopUse: ["Event loop", "事件循环"],
  releases: ["Releases", "版本"],
  noReleases: ["It was not reloaded yet.", "还没有重载过。"],
  release: ["Release {n}", "版本 {n}"],
  serves: ["serves", "当前"],
  ran: ["ran {time}", "运行了 {time}"],
  run: ["Run", "执行"],
  parameter: ["Parameter", "参数"],
  pid: ["Pid", "PID"],
  pause: ["Pause", "暂停"],
  follow: ["Follow", "跟随"],
  clear: ["Clear", "清屏"],
  download: ["Download", "下载"],
  filterLines: ["Filter lines", "筛选日志"],
  regex: ["Regex", "正则"],
  badRegex: ["not a valid pattern", "正则表达式无效"],
  allApps: ["All apps", "全部应用"],
  noLines: ["No lines yet. They appear here as soon as an app writes one.", "还没有日志，应用输出后会立即显示。"],
  noLinesMatch: ["No line matches.", "没有匹配的日志。"],
  nLines: ["{n} lines", "{n} 行"],
  showAll: ["show all", "显示全部"],
  traces: ["Traces", "追踪"],
  noTraces: ["No traces yet", "还没有追踪"],
  noTracesHint: ["Slow and failed requests, and a few of each route, are kept of apps that send traces. For a Node app:", "对于发送追踪的应用，这里会保留慢请求、失败请求以及每个路由的少量样本。Node 应用："],
  noTracesOther: ["Other languages: the key trace of the app, and OpenTelemetry in it. Traces are taken at http://127.0.0.1:{port}.", "其他语言：设置应用的 trace 选项，并在应用中使用 OpenTelemetry。追踪接收地址：http://127.0.0.1:{port}。"],
  tracesOff: ["Traces are not taken", "未接收追踪"],
  tracesOffHint: ["They were switched off; this takes them again:", "已关闭接收；以下命令可重新开启："],
  noTraceMatches: ["No trace matches.", "没有符合条件的追踪。"],
  noSuchTrace: ["There is no such trace any more.", "该追踪已不存在。"],
  moreTraces: ["There are more; a filter shows them.", "还有更多，请使用筛选查看。"],
  filterTraces: ["Filter by route", "按路由筛选"],
  anyDuration: ["any duration", "任意时长"],
  traceFailed: ["failed", "失败"],
  traceSlow: ["slow", "慢"],
  traceSample: ["sample", "样本"],
  foreign: ["foreign", "外部"],
  route: ["Route", "路由"],
  when: ["When", "时间"],
  nSpans: ["{n} spans", "{n} 个跨度"],
  waterfall: ["Waterfall", "瀑布图"],
  chartsThen: ["{name} at that time", "{name} 当时的图表"],
  clockDiffers: ["its clock differs", "时钟不一致"],
  leftOut: ["{n} left out", "省略 {n} 项"],
  linesOfTrace: ["Log lines with this trace id", "包含此追踪 ID 的日志"],
  noLinesOfTrace: ["No line of its apps names it. An app that logs its trace id (trace_id=…) has its lines here.", "相关应用的日志中没有此 ID。应用输出追踪 ID（trace_id=…）后，日志会显示在这里。"],
  noEvents: ["Nothing has happened as far as is known.", "暂无事件。"],
  errors: ["Errors", "异常"],
  error: ["Error", "异常"],
  app: ["App", "应用"],
  noErrors: ["No exceptions yet", "还没有异常"],
  noErrorsHint: ["Stack traces that apps write to standard error, and exceptions that Node apps report, are shown here in groups.", "应用写入标准错误的堆栈，以及 Node 应用上报的异常，会在这里分组显示。"],
  noErrorMatches: ["No error matches.", "没有符合条件的异常。"],
  noSuchError: ["There is no such error any more.", "该异常已不存在。"],
  filterErrors: ["Filter errors", "筛选异常"],
  unresolved: ["Unresolved", "未解决"],
  errorOpen: ["open", "未解决"],
  errorReturned: ["came back", "再次出现"],
  errorResolved: ["Resolved", "已解决"],
  cameBackIn: ["came back in {release}", "在{release}中再次出现"],
  resolve: ["Resolve", "标记为已解决"],
  times: ["Times", "次数"],
  firstSeen: ["First seen", "首次出现"],
  lastSeen: ["Last seen", "最近出现"],
  frames: ["Stack", "堆栈"],
  noFrames: ["It has no stack.", "没有堆栈信息。"],
  ownFrames: ["only those of the app", "仅显示应用自身"],
  allFrames: ["all {n} frames", "全部 {n} 帧"],
  linesBefore: ["Standard error before it", "此前的标准错误输出"],
  noLinesBefore: ["Nothing was written to standard error before it.", "此前没有标准错误输出。"],
  unknownRelease: ["unknown release", "未知版本"],
  older: ["Older", "更早"],
  filterEvents: ["Filter events", "筛选事件"],
  login: ["Log in", "登录"],
  loginHint: ["Make a link for this browser in a terminal of the machine:", "在这台主机的终端中生成登录链接："],
  password: ["Password", "密码"],
  token: ["Token", "令牌"],
  orToken: ["Log in with a token", "使用令牌登录"],
  logout: ["Log out", "退出登录"],
  tooMany: ["Too many attempts. Try again in {n} s.", "尝试次数过多，请在 {n} 秒后重试。"],
  language: ["Language", "语言"],
  theme: ["Theme", "主题"],
  system: ["System", "跟随系统"],
  light: ["Light", "浅色"],
  dark: ["Dark", "深色"],
  access: ["Access", "访问权限"],
  tokens: ["Tokens for programs", "程序令牌"],
  noTokens: ["There are none. A token lets a program read, or act, in your name.", "还没有令牌。令牌允许程序以您的名义读取或操作。"],
  makeToken: ["Make a token", "生成令牌"],
  role: ["Role", "角色"],
  viewer: ["viewer", "只读"],
  operator: ["operator", "操作员"],
  admin: ["admin", "管理员"],
  revoke: ["Revoke", "撤销"],
  shownOnce: ["Shown this once; keep it now:", "仅显示一次，请立即保存："],
  audit: ["Who did what", "操作审计"],
  noAudit: ["Nobody did anything yet.", "还没有操作记录。"],
  about: ["About", "关于"],
  version: ["Version", "版本"],
  home: ["Home", "主目录"],
  host: ["Host", "主机"],
  who: ["Who", "用户"],
  shortcuts: ["Keyboard shortcuts", "键盘快捷键"],
  keyFilter: ["filter", "筛选"],
  keyMove: ["next, previous app", "下一个、上一个应用"],
  keyOpen: ["open the app", "打开应用"],
  keyGo: ["overview, logs, errors, traces, events, alerts, settings", "概览、日志、异常、追踪、事件、告警、设置"],
  keyHelp: ["this help", "显示帮助"],
  keyBack: ["back", "返回"],
  ago: ["{time} ago", "{time}前"],
  offline: ["The server cannot be reached.", "无法连接服务器。"],
  menu: ["More", "更多"],
  cutLine: ["line was cut", "该行被截断"],
};

const saved = (key) => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
};

export const language = { now: saved("ostler-language") || (navigator.language.startsWith("zh") ? "zh" : "en") };

export function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser without storage forgets it; everything else works.
  }
}

export function setLanguage(name) {
  language.now = name;
  keep("ostler-language", name);
  document.documentElement.lang = name === "zh" ? "zh-CN" : "en";
}

// A word, with {parts} filled in.
export function t(key, parts) {
  const entry = WORDS[key];
  const text = entry ? entry[language.now === "zh" ? 1 : 0] : key;
  return parts ? text.replace(/\{(\w+)\}/g, (_, name) => String(parts[name] ?? "")) : text;
}

const STATES = { "waiting restart": "waitingRestart" };

// A state, or a health, in the language of the page.
export function stateWord(state) {
  const key = STATES[state] || state;
  return WORDS[key] ? t(key) : state;
}

export function themeNow() {
  return saved("ostler-theme") || "system";
}

export function setTheme(name) {
  keep("ostler-theme", name);
  document.documentElement.dataset.theme = name;
}

// Words with one part as code.
export const code = (text) => html`<code>${text}</code>`;
