-- One row per content that came to an end, dated in the platform's zone; the other views count these rows.
-- SQLite's dates are rounded to the millisecond: 23:59:59.999999 would be the next day's. So whole seconds are cut out.
-- zona_cambios has one to three rows a year: the year finds them, the moments choose one.
CREATE VIEW v_archivos AS
SELECT
    b.id,
    b.archivo,
    b.estado,
    b.vigente,
    date(b.fin_s, z.desfase_s || ' seconds') AS dia,
    date(b.fin_s, z.desfase_s || ' seconds', 'start of month') AS mes,
    -- Where the clocks changed since midnight, that midnight was an hour of the offset before; a midnight that a
    -- change leaves out gives way to the change itself. datetime() writes every moment alike, so that text compares.
    CASE
        WHEN
            datetime(b.fin_s, z.desfase_s || ' seconds', 'start of day', (-z.desfase_anterior_s) || ' seconds')
            < datetime(z.desde)
            THEN datetime(b.fin_s, z.desfase_s || ' seconds', 'start of day', (-z.desfase_anterior_s) || ' seconds')
        WHEN
            datetime(b.fin_s, z.desfase_s || ' seconds', 'start of day', (-z.desfase_s) || ' seconds')
            < datetime(z.desde)
            THEN datetime(z.desde)
        ELSE datetime(b.fin_s, z.desfase_s || ' seconds', 'start of day', (-z.desfase_s) || ' seconds')
    END AS dia_desde_utc,
    b.inicio AS inicio_utc,
    b.fin AS fin_utc,
    datetime(b.fin_s, z.desfase_s || ' seconds') || substr(b.fin, 20) AS fin_local,
    b.duracion_ms,
    b.intentos,
    b.bytes,
    b.codificacion,
    CASE WHEN b.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES') THEN COALESCE(b.registros_total, 0) ELSE 0 END
        AS registros_total,
    CASE WHEN b.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES') THEN COALESCE(b.registros_validos, 0) ELSE 0 END
        AS registros_validos,
    CASE WHEN b.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES') THEN COALESCE(b.registros_invalidos, 0) ELSE 0 END
        AS registros_invalidos,
    CASE WHEN b.estado IN ('COMPLETADO', 'COMPLETADO_CON_ERRORES') THEN COALESCE(b.visitantes_nuevos, 0) ELSE 0 END
        AS visitantes_nuevos,
    b.sha256,
    b.reemplaza_a,
    b.run_id,
    b.mensaje
FROM (SELECT c.*, substr(c.fin, 1, 19) AS fin_s FROM bitacora_control AS c WHERE c.estado <> 'EN_PROCESO') AS b
INNER JOIN zona_cambios AS z
    ON z.anio = CAST(strftime('%Y', b.fin_s) AS INTEGER) AND b.fin >= z.desde AND b.fin < z.hasta
