// Rendered for each request: the process that did it is on the page.
export const dynamic = 'force-dynamic';

export default function Page() {
  return <main>{`Hello from Next.js, process ${process.pid}`}</main>;
}
