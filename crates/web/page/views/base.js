// Addresses of views.
export const appBase = (app) => `#/app/${encodeURIComponent(app.namespace)}/${encodeURIComponent(app.name)}`;
