/// The style sheet of `/docs`: system fonts, two columns where there is room, light and dark.
let referenceStyle = """
    :root {
      --page: #fdfcfa; --panel: #f4f1ec; --line: #e2ddd4; --text: #23201b; --soft: #6a645a; --accent: #9a3412;
      --get: #0f766e; --post: #1d4ed8; --put: #7e22ce; --patch: #a16207; --delete: #b91c1c;
      --mono: ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, monospace;
      color-scheme: light dark;
    }
    @media (prefers-color-scheme: dark) {
      :root {
        --page: #171614; --panel: #211f1c; --line: #37332d; --text: #ece8e1; --soft: #a39c90; --accent: #fdba74;
        --get: #5eead4; --post: #93c5fd; --put: #d8b4fe; --patch: #fde047; --delete: #fca5a5;
      }
    }
    * { box-sizing: border-box; }
    html { scroll-behavior: smooth; scroll-padding-top: 1.5rem; }
    @media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
    body {
      margin: 0; display: grid; grid-template-columns: 19rem minmax(0, 1fr); background: var(--page); color: var(--text);
      font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
    }
    a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em; }
    a:hover { color: var(--accent); text-decoration-color: currentColor; }
    :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 2px; }
    nav {
      position: sticky; top: 0; height: 100vh; overflow-y: auto; padding: 1.75rem 1.25rem 3rem;
      border-right: 1px solid var(--line); background: var(--panel); font-size: .875rem;
    }
    nav a { display: block; padding: .15rem 0; text-decoration: none; }
    nav section { margin-top: 1.1rem; }
    nav ul { list-style: none; margin: .15rem 0 0; padding: 0; }
    nav li a { display: flex; gap: .6rem; color: var(--soft); line-height: 1.4; }
    nav li a:hover { color: var(--text); }
    nav .method { flex: 0 0 3.4rem; font-size: .6875rem; line-height: 1.8; }
    .brand { font-size: 1.25rem; font-weight: 700; letter-spacing: -.01em; }
    .brand small { font-weight: 400; font-size: .8125rem; color: var(--soft); }
    main { max-width: 76rem; padding: 3rem clamp(1.25rem, 4vw, 4rem) 6rem; }
    h1 { font-size: 2.25rem; line-height: 1.15; letter-spacing: -.025em; margin: 0 0 .75rem; }
    h2 { font-size: 1.5rem; letter-spacing: -.015em; margin: 4rem 0 1rem; padding-bottom: .5rem; border-bottom: 1px solid var(--line); }
    h3 { font-size: 1.125rem; margin: 0 0 .25rem; }
    h4 { font-size: .75rem; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--soft); margin: 1.5rem 0 .4rem; }
    code, pre, .method { font-family: var(--mono); font-size: .875em; }
    p { margin: .35rem 0; }
    header p { max-width: 44rem; color: var(--soft); }
    .basics dl { display: grid; grid-template-columns: 9rem minmax(0, 1fr); gap: .6rem 1.5rem; margin: 0; }
    .basics dt { font-weight: 600; }
    .basics dd { margin: 0; max-width: 46rem; }
    article { padding: 2rem 0; border-bottom: 1px solid var(--line); }
    article:last-child { border-bottom: 0; }
    .route { font-size: 1rem; overflow-wrap: anywhere; }
    .route i { font-style: normal; color: var(--accent); }
    .note { font-size: .875rem; color: var(--soft); }
    .method { font-weight: 700; }
    .get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); }
    .patch { color: var(--patch); } .delete { color: var(--delete); }
    .columns { display: grid; grid-template-columns: minmax(0, 1.1fr) minmax(0, 1fr); gap: 0 2.5rem; }
    table { width: 100%; border-collapse: collapse; font-size: .9rem; }
    th, td { padding: .5rem .75rem .5rem 0; text-align: left; vertical-align: top; border-top: 1px solid var(--line); }
    th { font-weight: 400; width: 40%; overflow-wrap: anywhere; }
    .wide th { width: 20rem; }
    .wide td:first-child { width: 4rem; }
    tr:target { background: var(--panel); }
    .kind { color: var(--soft); font-size: .8125rem; overflow-wrap: anywhere; }
    .required { color: var(--accent); font-size: .75rem; }
    .status { font-variant-numeric: tabular-nums; }
    pre {
      margin: 0; padding: 1rem; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; overflow-x: auto;
      line-height: 1.5; font-size: .8125rem;
    }
    pre code { font-size: inherit; }
    details { margin: .35rem 0; }
    summary { cursor: pointer; }
    .codes { list-style: none; margin: .5rem 0 0; padding: 0; font-size: .875rem; }
    @media (max-width: 70rem) { .columns { grid-template-columns: minmax(0, 1fr); } }
    @media (max-width: 52rem) {
      body { grid-template-columns: minmax(0, 1fr); }
      nav { position: static; height: auto; max-height: 45vh; border-right: 0; border-bottom: 1px solid var(--line); }
      .basics dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
      .basics dd { margin-bottom: .75rem; }
      th { width: 50%; }
    }

    """
